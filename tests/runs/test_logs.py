"""A line of a log that holds something else than numbers is one line of an error."""

import pytest

from debft.errors import InputError
from debft.runs.logs import Logs


@pytest.mark.parametrize("loss", ["NaN", "1e999", "1e308", "1" * 400, '"x"'], ids=["NaN", "inf", "no mean", "400 digits", "text"])
def test_number_that_is_none_is_named_by_its_line(tmp_path, loss):
    (tmp_path / "steps.jsonl").write_text(f'{{"step": 1, "loss": 0.5}}\n{{"step": 2, "loss": {loss}}}\n')
    logs = Logs(directory=tmp_path, content=lambda name: (tmp_path / name).read_bytes())
    with pytest.raises(InputError, match=r"steps\.jsonl:2: expected the numbers of a step, got something else"):
        logs.rows("steps.jsonl")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("steps.jsonl", '{"step": 1}'),
        ("steps.jsonl", '{"step": 1.5, "loss": 1}'),
        ("steps.jsonl", '{"step": -1, "loss": 1}'),
        ("evaluations.jsonl", '{"step": 1, "loss": 1}'),
        ("evaluations.jsonl", '{"step": 1, "scores": {"\\ud800": 1}}'),
    ],
)
def test_line_that_no_run_writes_is_named(tmp_path, file, line):
    (tmp_path / file).write_text(line + "\n")
    logs = Logs(directory=tmp_path, content=lambda name: (tmp_path / name).read_bytes())
    with pytest.raises(InputError, match=f"{file}:1: expected the numbers of a step, got something else"):
        logs.rows(file)
