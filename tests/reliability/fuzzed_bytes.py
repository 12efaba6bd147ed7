"""What reads bytes from outside, one reader at a time: each takes them or refuses them in a line for the user.

Hypothesis gives them files that are nearly right (the kind `bytes` of fuzzing.py); guided.py what atheris finds by the branches taken.
"""

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import fuzzed_data
from fuzzed_values import broken
from hypothesis import strategies as st

from debft.cli.foreign.recipe import imported_recipe
from debft.config import yaml12
from debft.config.reading import load_recipe
from debft.data.sources.files import read_table
from debft.errors import DebftError
from debft.models.json_files import read_config, read_json
from debft.models.weights import stored_tensors
from debft.runs.directory import RunDirectory

_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
_COMMAND = (
    "OUT=x; for s in 1 2; do python run_glue.py --task_name mnli --seed $s --learning_rate ${LR:-2e-5} --output_dir $OUT; done"
)
_RECIPE = b"model: demo\ntask: mnli\ntrain:\n  learning_rate: 2e-5\n  max_steps: 3\ntext: {max_seq_length: 32}\n"
_CONFIG = {"model_type": "deberta-v2", "id2label": {"0": "a", "1": "b"}, "hidden_size": 8}

# By name: the file that holds the bytes, what reads it, and bytes that are right.
READERS: dict[str, tuple[str, Callable[[Path], object], bytes]] = {
    "yaml": ("x.yaml", yaml12.load, b"a: [1, 2e-5, on]\nb: {c: 'd'}\ne: |\n  f\n"),
    "recipe": ("r.yaml", load_recipe, _RECIPE),
    "json": ("x.json", read_json, b'{"a": [1, 2.5, null, "\\u00e9"]}'),
    "config": ("config.json", lambda path: read_config(path.parent), json.dumps(_CONFIG).encode()),
    "result": (
        "result.json",
        lambda path: RunDirectory(path.parent).result(),
        b'{"format_version": 1, "task": "mnli", "scores": {"validation/f1": 1.0}}',
    ),
    "csv": ("rows.csv", read_table, fuzzed_data.csv_of(fuzzed_data.ROWS[:3], ",").encode()),
    "tsv": ("rows.tsv", read_table, fuzzed_data.csv_of(fuzzed_data.ROWS[:3], "\t").encode()),
    "jsonl": ("rows.jsonl", read_table, fuzzed_data.jsonl_of(fuzzed_data.ROWS[:3]).encode()),
    "squad": ("train.json", read_table, json.dumps(fuzzed_data.SQUAD).encode()),
    "safetensors": ("model.safetensors", stored_tensors, struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(8)),
    "command": ("run.sh", lambda path: imported_recipe(path.read_text("utf-8", "replace"), "run.sh", None), _COMMAND.encode()),
}


def read_bytes(name: str, content: bytes, directory: Path) -> None:
    """Give a reader the bytes, in a file of the directory. What it raises beside an error for the user is a bug."""
    file, reader, _ = READERS[name]
    path = directory / file
    path.write_bytes(content)
    with suppress(DebftError):
        reader(path)


def examples() -> st.SearchStrategy[tuple[str, bytes]]:
    """Bytes that are nearly right, or any, with the name of their reader."""
    return st.sampled_from(sorted(READERS)).flatmap(
        lambda name: st.tuples(st.just(name), broken(READERS[name][2]) | st.binary(max_size=200))
    )
