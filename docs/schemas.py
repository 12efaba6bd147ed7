"""Writes the JSON schemas of what a run leaves behind beside this file: `python docs/schemas.py` in the checkout."""

import json
from pathlib import Path

from debft.config.schema import schema
from debft.runs.result import RunResult

SCHEMAS = {"result.schema.json": RunResult}


def text_of(kind: type) -> str:
    """The schema of a file that a newer debft may have added fields to."""
    return json.dumps(schema(kind, closed=False), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, kind in SCHEMAS.items():
        Path(__file__).with_name(name).write_text(text_of(kind), encoding="utf-8")
