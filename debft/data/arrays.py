"""Arrays that take too much memory lie on disk and are mapped: the system has in memory what is read of them, as far as it can.

Processes that map the same file share that memory.
"""

import json
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from debft.data.nameless_files import check_room, nameless_file
from debft.runs.cache import cache_directory
from debft.runs.storage import disk_errors

MOST_IN_MEMORY = 2**27  # bytes of an array, or of a file of arrays
ENCODED = "encoded texts"  # in lines about the disk
COPIES = 2  # of an array, while the cache takes it over
AT_ONCE = 2**22  # numbers of a mapped array that are looked at together
DTYPES = {"I8": np.int8, "I32": np.int32, "I64": np.int64, "F32": np.float32}  # as safetensors writes them


class GrowingArray:
    """An array grows at its end, in memory, and from MOST_IN_MEMORY on, in a file that is gone with the process.

    num_parts: how many parts are to come in all
    """

    def __init__(self, num_parts: int) -> None:
        self.parts: list[np.ndarray] = []
        self.num_parts, self.bytes = num_parts, 0
        self.most: float = MOST_IN_MEMORY
        self.file: BinaryIO | None = None

    def add(self, part: np.ndarray) -> None:
        """Add numbers. Raises DiskError where the disk refuses them, MachineError where it will have no room for all of them."""
        self.parts.append(part)
        self.bytes += part.nbytes
        if self.bytes > self.most:
            self._write()

    def done(self) -> np.ndarray:
        """Return the array."""
        if self.file is None:
            return np.concatenate(self.parts)
        dtype, shape = self.parts[-1].dtype, self.parts[-1].shape[1:]
        with disk_errors(cache_directory()):
            self.file.flush()
            return _mapped(self.file).view(dtype).reshape(-1, *shape)

    def _write(self) -> None:
        if self.file is None:
            if (file := nameless_file(ENCODED)) is None:
                self.most = math.inf
                return
            expected = self.bytes * self.num_parts // len(self.parts)
            check_room(ENCODED, COPIES * expected)
            self.file = file
        with disk_errors(cache_directory()):
            for part in self.parts:
                self.file.write(np.ascontiguousarray(part).data)
        self.parts = [part[:0] for part in self.parts[-1:]]


def is_large(path: Path) -> bool:
    """Tell a file of arrays that is mapped from one that is read."""
    return path.stat().st_size > MOST_IN_MEMORY


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Map the arrays of a whole safetensors file. Raises KeyError for a type of numbers that DTYPES lacks.

    Source: https://github.com/huggingface/safetensors#format: the length of the header in 8 bytes, the header in JSON, the arrays.
    """
    with path.open("rb") as file:
        content = _mapped(file)
        begin = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(begin - 8))
    arrays = {}
    for name, stated in header.items():
        if name != "__metadata__":
            first, end = (begin + offset for offset in stated["data_offsets"])
            arrays[name] = content[first:end].view(DTYPES[stated["dtype"]]).reshape(stated["shape"])
    return arrays


def file_of_arrays(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """Give the content of a safetensors file in parts; the arrays with the largest numbers come first, so that all are aligned."""
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    kinds = {np.dtype(dtype): kind for kind, dtype in DTYPES.items()}
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": kinds[arrays[name].dtype], "shape": arrays[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        for part in pieces(arrays[name]):
            yield np.ascontiguousarray(part).data.cast("B") if part.size else b""


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Give an array in parts. Of one that is mapped no more than a part stays in memory, as long as nobody else reads it."""
    mapping = _mapping(array)
    for start in range(0, len(array), AT_ONCE):
        yield array[start : start + AT_ONCE]
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)


def _mapped(file: BinaryIO) -> np.ndarray:
    """Map a file that is not empty, as bytes that cannot be changed."""
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """Return what maps an array, None for one that is in memory."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
