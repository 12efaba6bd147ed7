"""The files of an export, by what they are, and how its example is called."""

import re
from collections.abc import Sequence

MODEL, INT8 = "model.onnx", "model.int8.onnx"
TOKENIZER, CONFIG, EXAMPLE = "tokenizer.json", "config.json", "predict.py"
RECORD = "export.json"  # what was checked, with the digest of every file; a directory that has one is an export


def usage(columns: Sequence[str]) -> str:
    """Return what is typed behind `python predict.py`: `"a premise" "its hypothesis"`.

    It stands in a docstring of the example and on a command line, so a column whose name is no plain words is called a text.
    """
    words = [column if re.fullmatch(r"\w[\w .-]*", column) else "text" for column in columns]
    return " ".join(f'"{"its" if number else "a"} {word}"' for number, word in enumerate(words))
