"""The bytes of a file become text."""

import re
from pathlib import Path

from debft.console import say
from debft.errors import InputError

# Byte order marks of what Windows and spreadsheets call Unicode; UTF-8 begins with none of them. The longer ones come first.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# What `surrogateescape` makes of a byte that is not UTF-8; no text that was decoded strictly has it.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def decoded(path: Path, raw: bytes, encoding: str | None = None) -> str:
    """Return the file as text, without byte order marks, also where files were joined; lines end in \\n.

    encoding: what the file is in; None: UTF-8, unless it begins with the mark of UTF-16 or UTF-32
    Bytes that are not UTF-8 are escaped. Raises InputError where the file is not in the encoding that it says or that is given.
    """
    marked = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    if encoding is not None:
        text = _in_encoding(path, raw, encoding)
    elif marked is None:
        text = raw.decode("utf-8", "surrogateescape")
    else:
        try:
            text = raw.decode(marked)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: expected {marked.upper()}, as its byte order mark says, got {error.reason}; convert it to UTF-8"
            ) from None
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\n\ufeff", "\n")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def encoding_of(path: Path, raw: bytes, given: str | None, usual: str | None) -> str | None:
    """Return the encoding to read a file in, as `decoded` takes it: the one that was given, else UTF-8 where the file is that.

    usual: what such files are in where they are not UTF-8; a line says that it is used
    """
    if given is not None or usual is None or raw.startswith(tuple(_MARKS)):
        return given
    try:
        raw.decode()
        is_text = b"\0" not in raw  # UTF-16 of plain letters is valid UTF-8
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        return None
    say(f"{path}: not UTF-8; read as {usual}, as the rows of the run were (--encoding says otherwise)")
    return usual


def _in_encoding(path: Path, raw: bytes, encoding: str) -> str:
    """Decode the file by the encoding that was given. Raises InputError for an unknown one, and for bytes that it does not have."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: expected text in {encoding}, as --encoding says, got byte 0x{raw[error.start]:02x}; give another one"
        ) from None
    except (LookupError, AttributeError, ValueError):  # rot13, `undefined` and a name with a NUL are no encodings of texts
        raise InputError(f"--encoding: expected an encoding such as cp1252 or latin-1, got {encoding!r}") from None


def not_utf8(text: str) -> str | None:
    """Return what is wrong with a text that holds escaped bytes, None where it holds none.

    The byte is shown as Windows would, whose programs write it: one can see whether that is meant.
    """
    try:
        text.encode()  # which passes over a large text four times as fast as a search does
        return None
    except UnicodeEncodeError as error:
        escaped = _ESCAPED_BYTE.search(text, error.start)
    if escaped is None:
        return None
    byte = bytes([ord(escaped[0]) - 0xDC00])
    in_windows = byte.decode("cp1252", "ignore")
    meant = f", which is {in_windows!r} in cp1252" if in_windows else ""
    advice = ", or give --encoding cp1252 (an option of text, evaluate and predict)" if in_windows else ""
    return f"expected UTF-8 text, got byte 0x{byte.hex()}{meant}; convert the file to UTF-8{advice}"


def line_of_escaped_byte(text: str) -> int:
    """Return the line, from 1, of the first byte that is not UTF-8."""
    before = _ESCAPED_BYTE.split(text, maxsplit=1)[0]
    return before.count("\n") + 1
