"""Files are digested while they are written: nothing is read a second time to know its sha256."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

# The dtypes that a checkpoint may have, in the order in which the format sorts its tensors, with the names that it gives them.
# Source: safetensors/src/tensor.rs, Dtype and prepare, of safetensors 0.8.0.
NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNED = 8  # bytes; the header is filled up with spaces to a multiple of it. Source: safetensors' README.md, Format
AT_ONCE = 2**20  # bytes; what is smaller is written together


def write_digested(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write the parts to a new file, one behind the other, and return the sha256 of all of them."""
    digest = hashlib.sha256()
    with path.open("xb", buffering=AT_ONCE) as file:
        for part in parts:
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write tensors to a new file in the format of safetensors, byte by byte as its library does, and return its sha256."""
    order = list(NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    return write_digested(path, _parts(tensors, names))


def _parts(tensors: Mapping[str, torch.Tensor], names: list[str]) -> Iterator[bytes | memoryview]:
    """Yield the header, then the numbers of each tensor."""
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    content += b" " * (-len(content) % ALIGNED)
    yield len(content).to_bytes(8, "little") + content
    for name in names:
        yield tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def first_bytes(path: Path, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file, in parts."""
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, AT_ONCE))):
            size -= len(part)
            yield part
