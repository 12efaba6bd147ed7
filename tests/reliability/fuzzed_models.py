"""Changes to the files of a directory: of a model or of a run."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzed_values import HOSTILE_TEXTS, NUMBERS, encoded, places, values
from hypothesis import strategies as st

LARGE = 200_000  # bytes of a JSON file that is not changed value by value


@dataclass(frozen=True)
class Change:
    """A change is drawn before the directory is there: numbers choose the file and the place, `value` is what comes there."""

    which: int
    how: str
    where: int
    value: object

    def __call__(self, directory: Path) -> None:
        paths = sorted(path for path in directory.rglob("*") if path.is_file())
        path = paths[self.which % len(paths)]
        content = path.read_bytes()
        if self.how == "value" and path.suffix in (".json", ".jsonl") and len(content) < LARGE:
            path.write_bytes(self._with_value(content))
        elif self.how == "gone":
            path.unlink()
        elif self.how == "directory":
            path.unlink()
            path.mkdir()
        elif self.how == "other":
            path.write_bytes(encoded(json.dumps(self.value)))
        else:
            path.write_bytes(self._damaged(content))

    def _with_value(self, content: bytes) -> bytes:
        lines = [json.loads(line) for line in content.splitlines()] if content.count(b"\n{") else json.loads(content)
        way = random.Random(self.where).choice(places(lines))
        if not way:
            return encoded(json.dumps(self.value))
        inside = lines
        for key in way[:-1]:
            inside = inside[key]
        inside[way[-1]] = self.value
        return encoded("\n".join(map(json.dumps, lines)) + "\n" if isinstance(lines, list) else json.dumps(lines))

    def _damaged(self, content: bytes) -> bytes:
        drawn = random.Random(self.where)
        result = bytearray(content)
        at = drawn.randrange(max(len(result), 1)) if drawn.random() < 0.5 else drawn.randrange(min(max(len(result), 1), 300))
        if self.how == "cut":
            del result[at:]
        elif result:
            result[at] ^= drawn.randrange(1, 256)
        return bytes(result)


@st.composite
def changes(draw: Callable) -> Change:
    """A change to one file."""
    value = draw(st.one_of(st.sampled_from(NUMBERS), st.sampled_from(HOSTILE_TEXTS), values()))
    how = draw(st.sampled_from(("value", "value", "value", "value", "flip", "cut", "gone", "directory", "other")))
    return Change(draw(st.integers(0, 1000)), how, draw(st.integers(0, 10**6)), value)
