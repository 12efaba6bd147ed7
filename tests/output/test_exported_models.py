"""Models that were really exported: the numbers of transformers' eager forward, and the run's answers without torch."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from architectures import ARCHITECTURES
from conftest import write_model_config

from debft.cli.export import export
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_train
from debft.models.files import find_model
from debft.output.onnx import graph
from debft.output.onnx.graph import input_names, write_onnx
from debft.output.onnx.int8 import quantize
from debft.scoring.loaded import load_model
from debft.scoring.rows import find_rows
from debft.scoring.used_model import find_used_model
from debft.tasks import TASKS
from debft.training.run import finetune

pytestmark = pytest.mark.sweep  # the exporter takes about ten seconds for each model
BY_NAME = {one.name: one for one in ARCHITECTURES}
# Float32 rounds the sums of two programs apart by some 1e-6 of logits this small; a wrong bucket or mask moves them by 1e-2.
CLOSE = 1e-4


def exported(directory, task, tmp_path):
    """(the model of random weights, a session with its export, its file)."""
    files, recipe = find_model(str(directory), from_scratch=True), with_train(Recipe(), from_scratch=True)
    loaded = load_model(files, TASKS[task], recipe, torch.device("cpu"), new_head=True)
    loaded.model.eval()
    write_onnx(loaded, tmp_path / "model.onnx")
    return loaded, onnxruntime.InferenceSession(tmp_path / "model.onnx"), tmp_path / "model.onnx"


def feeds_of(loaded, lengths, seed):
    """Random tokens of sequences of these lengths, padded where the model has its padding."""
    rng, longest, left = np.random.default_rng(seed), max(lengths), loaded.collate.left
    feeds = {name: np.zeros((len(lengths), longest), dtype=np.int64) for name in input_names(loaded)}
    feeds["input_ids"][:] = loaded.collate.pad_id
    for row, length in enumerate(lengths):
        place = slice(longest - length, None) if left else slice(length)
        feeds["input_ids"][row, place] = rng.integers(6, 100, length)
        feeds["attention_mask"][row, place] = 1
        if "token_type_ids" in feeds:
            feeds["token_type_ids"][row, place] = np.arange(length) >= length // 2
    return feeds


def largest_difference(loaded, session, feeds):
    with torch.inference_mode():
        output = loaded.model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    ours = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
    difference = np.stack([np.abs(a.numpy() - b) for a, b in zip(ours, session.run(None, feeds), strict=True)])
    return float((difference if "logits" in output else difference * feeds["attention_mask"]).max())


# The head of spans is another graph than that of labels; the encoder below it is the same one.
@pytest.mark.parametrize(("name", "task"), [*((name, "mnli") for name in BY_NAME), ("deberta-v3", "squad2"), ("xlnet", "squad2")])
def test_export_computes_what_transformers_eager_does_at_any_length_and_padding(name, task, tmp_path):
    loaded, session, file = exported(BY_NAME[name].write(tmp_path / "model"), task, tmp_path)
    batches = [[length] for length in (2, 3, 7, 8, 9, 16, 17, 63, 64, 65, 127, 128)] + [[5, 64, 17, 2], [128, 3], [33, 33]]
    assert max(largest_difference(loaded, session, feeds_of(loaded, lengths, 0)) for lengths in batches) < CLOSE
    assert {one.name for one in session.get_inputs()} == set(input_names(loaded))
    assert [dim for one in session.get_inputs() for dim in one.shape] == ["batch", "length"] * len(input_names(loaded))
    assert os.fsencode(Path(torch.__file__).parent) not in file.read_bytes()  # no path of this machine


def test_buckets_of_the_published_sizes_are_those_of_torch_at_every_length(demo_model, tmp_path):
    """256 buckets for 512 distances, as every published DeBERTa-v3 has them, and longer texts than the distances reach."""
    directory = write_model_config(tmp_path / "model", demo_model, position_buckets=256, max_relative_positions=512)
    loaded, session, file = exported(directory, "squad", tmp_path)
    rng = random.Random(0)
    lengths = [1, 127, 128, 129, 130, 131, 255, 256, 257, 383, 384, 385, 510, 511, 512, 513, 600, *rng.sample(range(2, 512), 20)]
    assert max(largest_difference(loaded, session, feeds_of(loaded, [length], length)) for length in lengths) < CLOSE
    assert "Log" not in {node.op_type for node in onnx.load(file).graph.node}  # whose last bit may be another one elsewhere


def test_weights_beyond_the_size_of_an_onnx_file_lie_beside_it(demo_model, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "BIGGEST", 0)
    loaded, session, file = exported(demo_model, "mnli", tmp_path)
    assert largest_difference(loaded, session, feeds_of(loaded, [5, 9], 0)) < CLOSE
    quantize(file, tmp_path / "model.int8.onnx", big=True)
    onnxruntime.InferenceSession(tmp_path / "model.int8.onnx")
    assert (tmp_path / "model.onnx.data").stat().st_size > file.stat().st_size


def words(rng, count):
    return " ".join(
        rng.choices(
            ["the", "fox", "owl", "rain", "stone", "barn", "garden", "slept", "worked", "in", "near", "at", "night", "wall", "old"],
            k=count,
        )
    )


def multilabel_rows(path):
    rng, tags = random.Random(1), {"fox": "animal", "owl": "animal", "rain": "weather", "barn": "place", "garden": "place"}
    with path.open("w") as file:
        for _ in range(240):
            text = words(rng, rng.choice((2, 5, 9, 40)))
            file.write(json.dumps({"text": text, "labels": sorted({tags[w] for w in text.split() if w in tags})}) + "\n")
    return path


RUNS = {
    "mnli": {"task": "mnli"},
    "squad2": {"task": "squad2", "text.max_seq_length": 32, "questions.doc_stride": 8, "questions.max_question_length": 10},
    "multi-label": {"task": "text", "text.max_seq_length": 24, "text.long_texts": "windows"},
    "stsb": {"task": "stsb", "text.truncation": "random_ends", "text.max_seq_length": 16},
}
# What a program does that has neither torch nor anything of debft: it reads rows, and asks predict.py for the answer to each.
WITHOUT_TORCH = """
import json, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "debft", "accelerate", "datasets", "sentencepiece"):
            raise ModuleNotFoundError(f"there is no {name} here")
sys.meta_path.insert(0, Refused())
try:
    import torch
except ModuleNotFoundError:
    pass
sys.path.insert(0, sys.argv[1])
import predict
for line in sys.stdin:
    texts = json.loads(line)
    row = predict.answer(*texts) if hasattr(predict, "answer") else predict.answers(predict.logits([texts]))[0]
    print(json.dumps(row["prediction"]))
assert not {"torch", "transformers", "debft"} & set(sys.modules)
"""


@pytest.fixture(scope="module", params=RUNS)
def exported_run(request, tmp_path_factory):
    """A run on demo rows, or the user's own, long enough to have learned something, with its export."""
    root = tmp_path_factory.mktemp("run")
    own = {"data": str(multilabel_rows(root / "rows.jsonl"))} if request.param == "multi-label" else {"data": "demo"}
    settings = {"train.max_steps": 80, "train.max_eval_samples": 200, "model": "demo", "train.from_scratch": True}
    finetune(load_recipe(recipe_path("demo"), settings | own | RUNS[request.param]), root / "run")
    export(str(root / "run"), onnx=True, int8=True)
    return root / "run"


def test_exported_run_answers_every_dev_row_alike_where_torch_is_not_installed(exported_run):
    used = find_used_model(str(exported_run), None)
    examples = find_rows(used.task, used.trained_on, None, used.limit_of(None), skip=False)
    for name, rows in examples.items():
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, exported_run / "onnx"],
            input="".join(json.dumps(list(texts)) + "\n" for texts in rows.texts),
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        assert done.returncode == 0, done.stderr
        predictions = [json.loads(line) for line in done.stdout.splitlines()]
        of_run = [
            json.loads(line)["prediction"] for line in (exported_run / "predictions" / f"{name}.jsonl").read_text().splitlines()
        ]
        if used.task.name == "stsb":
            assert predictions == pytest.approx(of_run, abs=CLOSE)
        else:
            assert predictions == of_run


def test_record_of_an_exported_run_has_what_int8_costs_and_brings(exported_run):
    content = json.loads((exported_run / "onnx" / "export.json").read_text())
    assert content["agreement"]["flips"] == 0 and content["agreement"]["max_difference"] < CLOSE
    int8 = content["int8"]
    assert int8["loss"].keys() == content["scores"].keys()
    assert min(int8["rows_per_second"].values()) > 0
    assert int8["agreement"]["max_difference"] > 0  # other weights: the files are not the same model
    assert content["files"]["model.int8.onnx"]["bytes"] < content["files"]["model.onnx"]["bytes"]
