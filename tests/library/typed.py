"""A program that uses the library, as a type checker reads it. It is not run."""

from pathlib import Path

import debft

result = debft.finetune("text", train=[{"text": "a", "label": "b"}], validation=0.1, model="demo", output=Path("runs"), max_steps=2)
scores: dict[str, float] = result.scores
status: str = result.status
model: debft.Model = debft.load(Path("runs"), precision="fp32")
rows = model.predict(["a", ("b", "c"), {"text": "d"}])
first: str = rows[0]["prediction"]
evaluated = debft.evaluate("runs", data=debft.read_table("rows.csv"))
try:
    debft.finetune(7)  # type: ignore[arg-type]
except debft.InputError as error:
    problems: tuple[str, ...] = error.problems
debft.finetune("text", resume="yes")  # type: ignore[arg-type]
debft.load("runs").predicts([])  # type: ignore[attr-defined]
debft.fine_tune("text")  # type: ignore[attr-defined]
