"""The console that commands print to."""

from contextlib import suppress

from rich.console import Console


class _Console(Console):
    """Standard output; whoever stops reading it (`… | head -3`) stops no work, and no file is missing after it."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()  # from now on into /dev/null


def console(given: Console | None = None, width: int = 120) -> Console:
    """The console to print to: as wide as the terminal, or as tables need where there is none.

    Args:
        given: Another than standard output.
        width: Characters of a line without a terminal; a log file has no width to fit into.
    """
    chosen = given or _Console()
    if not chosen.is_terminal:
        chosen.width = width
    return chosen
