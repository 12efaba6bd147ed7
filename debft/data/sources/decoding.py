"""The bytes of a file become text."""

import codecs
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from debft.console import say
from debft.errors import InputError

# Byte order marks of what Windows and spreadsheets call Unicode; UTF-8 begins with none of them. The longer ones come first.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BYTES_AT_ONCE = 2**23  # of a file that is read in blocks
# What `surrogateescape` makes of a byte that is not UTF-8; no text that was decoded strictly has it.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def decoded(path: Path, raw: bytes, encoding: str | None = None) -> str:
    """Return the file as text, without byte order marks, also where files were joined; lines end in \\n.

    encoding: what the file is in; None: UTF-8, unless it begins with the mark of UTF-16 or UTF-32
    Bytes that are not UTF-8 are escaped. Raises InputError where the file is not in the encoding that it says or that is given.
    """
    return "".join(decoded_blocks(path, io.BytesIO(raw), encoding))


def decoded_blocks(path: Path, file: BinaryIO, encoding: str | None = None) -> Iterator[str]:
    """Give the text that `decoded` returns in blocks of whole lines, at least one; the last line may lack its end.

    file: at its beginning
    """
    raw, is_first = file.read(BYTES_AT_ONCE), True
    decode = _Decoder(path, raw, encoding)
    begun: list[str] = []  # parts of a line whose end has not come yet
    while raw or is_first:
        more = file.read(BYTES_AT_ONCE)
        text = decode(raw, final=not more)
        raw = more
        end = text.rfind("\n") + 1 if more else len(text)
        if end or not more:
            yield _cleaned(path, "".join((*begun, text[:end])), is_first, is_last=not more)
            begun, is_first = [], False
        begun.append(text[end:])


class _Decoder:
    """Bytes become text a block at a time. begin: the first ones, which tell the encoding"""

    def __init__(self, path: Path, begin: bytes, encoding: str | None) -> None:
        self.path, self.given = path, encoding
        self.marked = next((name for mark, name in _MARKS.items() if begin.startswith(mark)), None)
        self.num_lines = 0  # of the bytes before
        given = encoding if encoding is not None else self.marked
        name, errors = (given, "strict") if given is not None else ("utf-8", "surrogateescape")
        try:
            "".encode(name)  # rot13, `undefined` and a name with a NUL are no encodings of texts
            self.decoder = codecs.getincrementaldecoder(_in_an_order(name, begin))(errors)
        except (LookupError, AttributeError, TypeError, ValueError):
            raise _no_encoding(given) from None

    def __call__(self, raw: bytes, final: bool) -> str:
        """Decode the next bytes. Raises InputError for those that the encoding does not have."""
        try:
            text = self.decoder.decode(raw, final)
        except UnicodeDecodeError as error:
            if self.given is None:
                advice = f"as its byte order mark says, got {error.reason}; convert it to UTF-8"
                raise InputError(f"{self.path}: expected {str(self.marked).upper()}, {advice}") from None
            line = self.num_lines + error.object.count(b"\n", 0, error.start) + 1
            raise InputError(
                f"{self.path}:{line}: expected text in {self.given}, as --encoding says, got byte "
                f"0x{error.object[error.start]:02x}; give another one"
            ) from None
        except UnicodeError:  # punycode and idna are encodings of names, not of texts
            raise _no_encoding(self.given) from None
        self.num_lines += raw.count(b"\n")
        return text


def _no_encoding(given: str | None) -> InputError:
    return InputError(f"--encoding: expected an encoding such as cp1252 or latin-1, got {given!r}")


def _in_an_order(name: str, begin: bytes) -> str:
    """Return the encoding in the order of this machine's bytes where it is UTF-16 or UTF-32 and no mark tells the order.

    Python decodes such a file when it has it whole, and refuses it in blocks.
    """
    known = codecs.lookup(name).name
    if known not in _MARKS.values() or any(begin.startswith(mark) for mark, marked in _MARKS.items() if marked == known):
        return name
    return f"{known}-{sys.byteorder[0]}e"


def _cleaned(path: Path, text: str, is_first: bool, is_last: bool) -> str:
    """Return a block of lines without byte order marks at their beginnings and without \\r at their ends."""
    text = (text.lstrip("\ufeff") if is_first else text.removeprefix("\ufeff")).replace("\r\n", "\n").replace("\n\ufeff", "\n")
    if is_first and is_last and "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def encoding_of(path: Path, file: BinaryIO, given: str | None, usual: str | None) -> str | None:
    """Return the encoding to read a file in, as `decoded` takes it: the one that was given, else UTF-8 where the file is that.

    file: at its beginning, where it is again afterwards
    usual: what such files are in where they are not UTF-8; a line says that it is used
    """
    if given is not None or usual is None:
        return given
    if _is_marked_or_utf8(file):
        return None
    say(f"{path}: not UTF-8; read as {usual}, as the rows of the run were (--encoding says otherwise)")
    return usual


def _is_marked_or_utf8(file: BinaryIO) -> bool:
    """Tell a file with the mark of another encoding, and one that is UTF-8: UTF-16 of plain letters is, but for its zeros."""
    decode, raw = codecs.getincrementaldecoder("utf-8")().decode, file.read(BYTES_AT_ONCE)
    try:
        if raw.startswith(tuple(_MARKS)):
            return True
        while raw:
            decode(raw)
            if b"\0" in raw:
                return False
            raw = file.read(BYTES_AT_ONCE)
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        file.seek(0)
    return True


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
