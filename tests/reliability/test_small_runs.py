"""What compares two runs is not blind: any bit of the model, the checkpoint, a prediction or a log that differs is named."""

import json
import shutil

import pytest
from resume import paths_of
from sealing import seal_files
from small_runs import Kind, difference, inputs_beside, left_half_written, steps_logged

from debft.training.run import finetune


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    with paths_of(Kind()):
        finetune(Kind().recipe(inputs_beside(root / "run")), root / "run")
    return root / "run"


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_last_line(path, **values):
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps(json.loads(last) | values)]) + "\n")


DAMAGES = {
    "model/model.safetensors": (lambda run: flip(run / "model" / "model.safetensors"), "other bytes in model/model.safetensors"),
    "checkpoint": (
        lambda run: flip(run / "checkpoints" / "step-000008" / "optimizer.safetensors"),
        "other bytes in checkpoints/step-000008/optimizer.safetensors",
    ),
    "prediction": (lambda run: (run / "predictions" / "validation_matched.jsonl").unlink(), "other bytes in predictions/"),
    "loss": (lambda run: change_last_line(run / "steps.jsonl", loss=0.5), "steps.jsonl: 8 lines without a stop, 8 with it"),
    "line": (lambda run: (run / "evaluations.jsonl").write_text(""), "evaluations.jsonl: 2 lines without a stop, 0 with it"),
    "result": (lambda run: (run / "result.json").unlink(), "it has no result"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_difference_between_two_runs_is_named(complete, tmp_path, damage, words):
    copy = tmp_path / "copy"
    shutil.copytree(complete, copy)
    change_last_line(copy / "steps.jsonl", seconds=1.0)  # what a step took is no difference
    seal_files(copy)
    assert difference(complete, copy) == ""
    damage(copy)
    if (copy / "result.json").is_file():
        seal_files(copy)  # it is another whole run, not a damaged one
    assert difference(complete, copy).startswith(words)


def test_half_written_files_and_lines_are_seen(complete, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(complete, copy)
    assert left_half_written(copy) == [] and steps_logged(copy) == 8
    (copy / "checkpoints" / ".step-000009.7.partial").mkdir()
    (copy / "steps.jsonl").open("a").write('{"step": 9')
    assert left_half_written(copy) == ["checkpoints/.step-000009.7.partial"] and steps_logged(copy) == 8
    assert steps_logged(tmp_path / "none") == 0
