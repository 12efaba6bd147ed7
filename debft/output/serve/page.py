"""The page on which a model is tried: one file without anything from elsewhere, whose script alone may run in it."""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.output.pages.templates import template

ROWS = {1: 5, 2: 3}  # of a field for a text, where the task has one or two


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page with the policy that a browser holds it to."""

    html: str

    @property
    def policy(self) -> str:
        """Return the Content-Security-Policy: this very script and this very style, and requests to this server alone."""
        kinds = (("script-src", "script"), ("style-src", "style"))
        own = "; ".join(f"{kind} {_digest(re.findall(f'<{tag}>(.*?)</{tag}>', self.html, re.DOTALL)[0])}" for kind, tag in kinds)
        nothing = ("base-uri", "form-action", "frame-ancestors")
        return "; ".join(
            ["default-src 'none'", own, "img-src data:", "connect-src 'self'", *(f"{kind} 'none'" for kind in nothing)]
        )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def build_page(info: dict[str, Any]) -> Page:
    """Return the page of a model. info: what GET /info says of it"""
    shown = info | {"rows": ROWS.get(len(info["texts"]), 3)}
    return Page(html=template("page.html.j2", Path(__file__).parent).render(info=shown))
