"""The console that commands print to."""

from rich.console import Console


def console(given: Console | None = None, width: int = 120) -> Console:
    """The console to print to: as wide as the terminal, or as tables need where there is none.

    Args:
        given: Another than standard output.
        width: Characters of a line without a terminal; a log file has no width to fit into.
    """
    chosen = given or Console()
    if not chosen.is_terminal:
        chosen.width = width
    return chosen
