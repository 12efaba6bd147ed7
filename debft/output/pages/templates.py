"""This module finds the HTML templates of pages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debft.errors import visible

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, folder: Path = Path(__file__).parent) -> "Template":
    """Return the template `name` of `folder`. What is filled in is escaped; a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    return pages.get_template(name)


def shown(value: Any) -> Any:
    """Return a text without control characters, which no page may hold; HTML of our own, such as a figure's, stays HTML."""
    return type(value)(visible(value)) if isinstance(value, str) else value
