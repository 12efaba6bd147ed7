"""Results for stdout: a console that ends with its reader, and tables without lines."""

from collections.abc import Container

from rich.table import Table
from rich.text import Text

from debft.console import VisibleConsole


class OutputConsole(VisibleConsole):
    """A console for results on stdout. It raises BrokenPipeError where the reader has read enough; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def plain_table(*headers: str, left: Container[str], wrapped: Container[str] = ()) -> Table:
    """Return a table without lines and rows. Columns in `left` are aligned left, the others right; those in `wrapped` may break."""
    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(Text(header, style="dim"), justify="left" if header in left else "right", no_wrap=header not in wrapped)
    return table
