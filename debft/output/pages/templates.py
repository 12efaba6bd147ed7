"""This module finds the HTML templates of pages."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, folder: Path = Path(__file__).parent) -> "Template":
    """Return the template `name` of `folder`. What is filled in is escaped; a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return pages.get_template(name)
