"""The weights of a model lie in one file or several, whose headers tell whether they can be used here."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from debft.errors import InputError, first_line, shown
from debft.models.json_files import check_pointer, read_json, read_object
from debft.runs.storage import failing_disk

# In the order in which transformers takes them.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# Weights in forms that are not read, by the ending of their files.
OTHER_WEIGHTS = {".h5": "TensorFlow", ".ckpt.index": "TensorFlow", ".msgpack": "Flax", ".gguf": "llama.cpp", ".onnx": "ONNX"}
ADAPTER = "adapter_config.json"  # as PEFT saves it
# What 8-bit and 4-bit formats call their tensors. Source: bitsandbytes (SCB, absmax, quant_state), GPTQ and AWQ (qweight, qzeros).
QUANTIZED = ("SCB", "absmax", "quant_map", "qweight", "qzeros", "weight_scale", "weight_scale_inv", "weight_packed")
WHOLE_NUMBERS = ("I8", "U8", "I16", "I32", "I64")
_DTYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float64": "F64",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.int16": "I16",
    "torch.int32": "I32",
    "torch.int64": "I64",
    "torch.bool": "BOOL",
}


def first_weight_file(path: Path) -> Path | None:
    """Return the file that transformers begins with, None where there is none."""
    return next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)


def weight_files(path: Path) -> list[Path]:
    """Return the files that the weights are in: one, or the shards that an index names, whether they exist or not."""
    index = first_weight_file(path)
    if index is None or not index.name.endswith(".index.json"):
        return [index] if index else []
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{index}: expected a weight_map of tensors to files, got {shown(names)}; copy the file again")
    if outside := next((name for name in names.values() if Path(name).name != name), None):
        raise InputError(f"{index}: weight_map: expected names of files beside it, got {shown(outside)}; copy the file again")
    return [path / name for name in dict.fromkeys(names.values())]


def check_weights(path: Path, config: dict[str, Any]) -> None:
    """Raise InputError for weights that cannot be read, are quantized, or need an adapter that lies beside them.

    Only headers are read, except of a `pytorch_model.bin` in the form before torch 1.6.
    """
    if (path / ADAPTER).is_file():
        raise InputError(
            f"{path / ADAPTER}: an adapter lies beside the weights and would be left out; merge it first "
            "(`PeftModel.merge_and_unload` and `save_pretrained`), or take the file away to use the weights without it"
        )
    check_not_quantized(path, config)
    for file in weight_files(path):
        for name, (dtype, _) in stored_tensors(file).items():
            last = name.rpartition(".")[2]
            if last in QUANTIZED or dtype.startswith("F8") or (last == "weight" and dtype in WHOLE_NUMBERS):
                raise InputError(
                    f"{file}: expected weights as floating-point numbers, got {name} of type {dtype}: quantized weights "
                    "cannot be trained or scored here; take the model that they were made from"
                )


def check_not_quantized(path: Path, config: dict[str, Any]) -> None:
    """Raise InputError for a config.json that says that the weights are quantized."""
    if quantization := config.get("quantization_config"):
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else shown(quantization)
        raise InputError(
            f"{path / 'config.json'}: quantization_config: expected weights as floating-point numbers, got quantized ones "
            f"({method}); take the model that they were made from"
        )


def explain_no_weights(path: Path) -> str:
    """Return for an error line what lies in a directory in place of weights that can be read; '' where nothing does."""
    if (path / ADAPTER).is_file():
        base = read_object(path / ADAPTER).get("base_model_name_or_path")
        return f"; {ADAPTER} is there: an adapter of {base}, which has to be merged into it first"
    for file in sorted(path.iterdir()):
        form = next((form for ending, form in OTHER_WEIGHTS.items() if file.name.endswith(ending)), None)
        if form:
            return f"; {file.name} is there: weights of {form}, which are not read; take or make a model.safetensors"
    others = sorted(file.name for file in path.glob("*") if file.suffix in (".safetensors", ".bin", ".pt", ".pth", ".ckpt"))
    return f"; {others[0]} is there: expected the name {WEIGHT_FILES[0]}" if others else ""


def stored_dtypes(path: Path) -> list[str]:
    """Return the dtypes of the stored weights, by their names in safetensors; [] where there are none."""
    return sorted({dtype for file in weight_files(path) for dtype, _ in stored_tensors(file).values()})


def stored_tensors(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return (dtype, shape) of every tensor in a file of weights, by name. Raises InputError where the file cannot be read."""
    check_pointer(file)
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)


def _read_safetensors(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return (dtype, shape) by name from the header of a safetensors file."""
    try:
        with failing_disk(file), safe_open(file, framework="np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from None


def _read_pickle(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return (dtype, shape) by name from a file of torch's, of which nothing but tensors is read."""
    import torch  # takes seconds, and few models are still stored in this form

    with file.open("rb") as stream:
        in_zip = stream.read(2) == b"PK"  # else the form before torch 1.6, which cannot be mapped into memory
    if in_zip:
        _check_not_compressed(file)
    try:
        with failing_disk(file):
            content = torch.load(file, map_location="meta", weights_only=True, mmap=in_zip)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise _unreadable(file, error) from None
        raise InputError(
            f"{file}: the weights cannot be read: it holds other objects than tensors, which could run code when they are read; "
            "take the model as model.safetensors"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise _unreadable(file, error) from None
    tensors = {name: one for name, one in content.items() if isinstance(one, torch.Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise InputError(f"{file}: expected tensors by name, got {_kind(content)}; save the model with save_pretrained")
    return {str(name): (_DTYPES.get(str(one.dtype), str(one.dtype)), tuple(one.shape)) for name, one in tensors.items()}


def _check_not_compressed(file: Path) -> None:
    """Raise InputError for an archive whose content is compressed: torch writes none, and a small one may grow without end."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = next((one.filename for one in archive.infolist() if one.compress_type != zipfile.ZIP_STORED), None)
    except zipfile.BadZipFile as error:
        raise _unreadable(file, error) from None
    if packed is not None:
        raise InputError(f"{file}: expected an archive as torch saves it, got one with {packed} compressed; save the weights anew")


def _kind(content: object) -> str:
    """Return in words what a file holds in place of tensors by name."""
    return f"the keys {', '.join(map(str, list(content)[:3]))}" if isinstance(content, dict) else type(content).__name__


def _unreadable(file: Path, error: Exception) -> InputError:
    """Return the error for a file that another library cannot read."""
    return InputError(f"{file}: the weights cannot be read: {first_line(error)}; copy the file again")
