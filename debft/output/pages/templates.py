"""HTML from a template, and text for Markdown: what the report and the tables share."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str) -> "Template":
    """The page `name` of this folder. Everything that is filled in is escaped; a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(name)


def escaped(text: str) -> str:
    """Text that Markdown prints as it is, in a table cell too: one line, no marks, no HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|\[\]~])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match.group(), text)
