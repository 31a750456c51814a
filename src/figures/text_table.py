"""Tables as text, the same on the terminal and on a page."""

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """A table that is ready to be shown anywhere.

    Attributes:
        title: What it shows.
        columns: Headings.
        rows: Cells.
        notes: Sentences under it.
        text_columns: How many columns on the left hold text; the others hold numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    text_columns: int

    def for_terminal(self) -> Table:
        """The table for `rich`."""
        table = Table(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            text = place < self.text_columns  # names that are cut off could be any
            table.add_column(column, justify="left" if text else "right", overflow="fold" if text else "ellipsis")
        for row in self.rows:
            table.add_row(*map(Text, row))  # [1, 2] is no markup
        return table
