"""A seal tells a file that is not what a run wrote: flipped, cut, edited by hand, or another run's.

A file of JSON carries the digest of the rest of its content, so a program that only lays it out anew does no harm. A recipe.yaml
carries in its first line the number of its run, which is in every checkpoint as well, and the digest of that and the lines below.
Files that an older debft wrote have no seal, and are taken as they are.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

SEAL = "sha256"
_FIRST_LINE = re.compile(rb"# run ([0-9a-f]{16}), sha256 of that and the lines below ([0-9a-f]{64})\n")
_NEARLY = re.compile(rb"^(#|.{0,8}run |[^\n]*sha256 of that and the lines below)|^$")


class BrokenSealError(ValueError):
    """The content is not what was written. The text tells expected and got."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file of JSON with its digest as the last key."""
    return {**content, SEAL: None} | {SEAL: _digest(content)}


def check_seal(content: Mapping[str, Any]) -> None:
    """Raise BrokenSealError unless the content is what `sealed` gave."""
    expected, got = content.get(SEAL), _digest(content)
    if expected != got:
        raise BrokenSealError(f"expected content of {SEAL} {_short(expected)}, got {_short(got)}")


def _digest(content: Mapping[str, Any]) -> str:
    """Return 64 hex digits of everything but the seal, the same for every layout of the same JSON."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    as_read = json.loads(json.dumps(rest))  # with the keys and lists that a reader gets
    return hashlib.sha256(json.dumps(as_read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed_lines(lines: bytes, number: str | None) -> bytes:
    """Return lines of YAML below one with the number of a run, 16 hex digits, and the digest of both. number: None for a new one"""
    digits = (number or token_hex(8)).encode()
    return b"# run %b, sha256 of that and the lines below %b\n%b" % (digits, _sha256(digits + lines).encode(), lines)


def check_lines(content: bytes) -> None:
    """Raise BrokenSealError unless the content is what `sealed_lines` gave, or has no such first line."""
    if first := _FIRST_LINE.match(content):
        expected, got = first[2].decode(), _sha256(first[1] + content[first.end() :])
        if expected != got:
            raise BrokenSealError(f"expected lines of sha256 {_short(expected)}, got {_short(got)}")
    elif _NEARLY.match(content):
        raise BrokenSealError("expected the number of the run and a sha256 in the first line, got something else")


def number_of_run(content: bytes) -> str | None:
    """Return the number of the run in the first line of its recipe.yaml; None where an older debft wrote none."""
    first = _FIRST_LINE.match(content)
    return first[1].decode() if first else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(digest: Any) -> str:
    return f"{digest[:12]}..." if isinstance(digest, str) else "none"
