"""The bytes of a file become text."""

import re
from pathlib import Path

from debft.errors import InputError

# Byte order marks of what Windows and spreadsheets call Unicode; UTF-8 begins with none of them. The longer ones come first.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# What `surrogateescape` makes of a byte that is not UTF-8; no text that was decoded strictly has it.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def decoded(path: Path, raw: bytes) -> str:
    """Return the file as text, without byte order marks, also where files were joined; lines end in \\n.

    A file is UTF-8 unless it begins with the mark of UTF-16 or UTF-32. Bytes that are not UTF-8 are escaped.
    """
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    try:
        text = raw.decode(encoding) if encoding else raw.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected {encoding.upper()}, as its byte order mark says, got {error.reason}; convert it to UTF-8"
        ) from None
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\n\ufeff", "\n")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def not_utf8(text: str) -> str | None:
    """Return what is wrong with a text that holds escaped bytes, None where it holds none."""
    byte = None if text.isascii() else _ESCAPED_BYTE.search(text)
    return f"expected UTF-8 text, got byte 0x{ord(byte[0]) - 0xDC00:02x}; convert the file to UTF-8" if byte else None


def line_of_escaped_byte(text: str) -> int:
    """Return the line, from 1, of the first byte that is not UTF-8."""
    return text.count("\n", 0, _ESCAPED_BYTE.search(text).start()) + 1
