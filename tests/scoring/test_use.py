"""A trained model, used: what a run scored is what evaluate and predict give, bit for bit, for every task in both dialects."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file
from sealing import seal_result

from debft.config.dialects import DIALECTS
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import NotFiniteError
from debft.models.build import build_model
from debft.models.files import find_model
from debft.runs import checkpoint
from debft.scoring import inference, loading
from debft.tasks import TASKS, QuestionAnswering
from debft.training.plan import make_plan
from debft.training.run import finetune

ALIGNMENT = 64  # bytes: what torch's own allocator gives, and what a tensor mapped from a file need not have


def short_recipe(task: str, dialect: str, **overrides):
    """A few steps on demo rows, so short that most rows are cut, with a seed that is not the default."""
    settings = DIALECTS[dialect] | {
        "task": task,
        "train.max_steps": 2,
        "train.max_train_samples": 300,
        "train.max_eval_samples": 24,
        "train.seed": 7,
    }
    settings |= {"train.train_batch_size": 16, "text.max_seq_length": 9, "train.warmup_steps": 0}
    if isinstance(TASKS[task], QuestionAnswering):
        settings |= {
            "text.max_seq_length": 24,
            "questions.doc_stride": 6,
            "questions.max_question_length": 8,
            "questions.n_best_size": 3,
        }
    if task == "xnli":
        settings |= {"languages.eval_languages": "en,th"}
    return load_recipe(recipe_path("demo"), settings | overrides)


def rows_of(run, split: str) -> list[dict]:
    return [json.loads(line) for line in (run / "predictions" / f"{split}.jsonl").read_text().splitlines()]


# A task of each kind in each dialect: two texts, one, a score, a question, answers, languages.
USED = [(task, "card") for task in ("cola", "squad2", "xnli")]
USED += [(task, "repo") for task in ("mnli", "stsb", "qnli")]
REST = [(task, dialect) for task in TASKS for dialect in DIALECTS if (task, dialect) not in USED]


@pytest.mark.parametrize(("task", "dialect"), [*USED, *(pytest.param(*case, marks=pytest.mark.sweep) for case in REST)])
def test_run_evaluate_and_predict_give_the_same(task, dialect, tmp_path):
    """And no score where weights are finite, and so large that the logits are not."""
    recipe = short_recipe(task, dialect)
    result = finetune(recipe, tmp_path)
    predictor = loading.load_predictor(str(tmp_path / "model"), None, "auto")
    examples = make_plan(recipe).examples
    assert any(predictor.encode(rows, name, cached=True).remarks() for name, rows in examples.items()), "no row was cut"
    by_run = loading.load_predictor(str(tmp_path), None, "auto")
    evaluated = inference.evaluate(by_run, None, 24)
    assert evaluated["scores"] == result.scores
    assert evaluated["intervals"] == result.intervals
    predicted = inference.predict(predictor, {split: examples[split] for split in result.num_examples})
    for split, rows in predicted.items():
        assert rows == [{key: value for key, value in row.items() if key != "label"} for row in rows_of(tmp_path, split)]
    by_run.loaded.model.get_parameter("deberta.encoder.layer.0.intermediate.dense.weight").data.fill_(1e38)
    named = re.escape(f"{tmp_path / 'model'}: ")
    for use in (lambda: inference.evaluate(by_run, None, 24), lambda: inference.predict(by_run, examples)):
        with pytest.raises(
            NotFiniteError, match=f"{named}.*rows.*expected finite logits, got NaN or infinity; its weights are finite"
        ):
            use()


def test_single_row_is_cut_as_in_its_split(tmp_path):
    recipe = short_recipe("mnli", "repo")
    finetune(recipe, tmp_path)
    predictor = loading.load_predictor(str(tmp_path), None, "auto")
    examples = make_plan(recipe).examples["validation_matched"]
    whole = predictor.encode(examples, "rows", cached=False)
    alone = predictor.encode(examples.part(17, 18), "rows", cached=False)
    assert whole.example(17)[0].tolist() == alone.example(0)[0].tolist()


def test_model_carries_the_precision_it_was_trained_in_and_is_used_in_it(tmp_path):
    recipe = short_recipe("rte", "card", **{"runtime.precision": "bf16"})
    result = finetune(recipe, tmp_path)
    predictor = loading.load_predictor(str(tmp_path), None, "auto")
    assert predictor.accelerator.mixed_precision == "bf16"
    assert inference.evaluate(predictor, None, 24)["scores"] == result.scores
    assert loading.load_predictor(str(tmp_path), None, "fp32").accelerator.mixed_precision == "no"


def test_precision_that_is_not_here_is_said(tmp_path, capsys):
    finetune(short_recipe("rte", "card"), tmp_path / "run")
    model = shutil.copytree(tmp_path / "run" / "model", tmp_path / "model")
    path = model / "config.json"
    config = json.loads(path.read_text())
    config["debft"]["precision"] = "fp16"
    path.write_text(json.dumps(config))
    if torch.cuda.is_available():
        pytest.skip("fp16 is there: this machine has a CUDA GPU")
    assert loading.load_predictor(str(model), None, "auto").accelerator.mixed_precision == "no"
    assert "the model was trained in fp16, which this machine lacks: fp32 is used" in capsys.readouterr().err


def test_model_of_an_earlier_version_is_used_as_its_recipe_says(tmp_path):
    finetune(short_recipe("mnli", "repo"), tmp_path)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for added in ("truncation", "seed", "precision"):
        del config["debft"][added]
    path.write_text(json.dumps(config))
    seal_result(tmp_path, format_version=1, model_files=None)
    used = loading.load_predictor(str(tmp_path), None, "auto").recipe
    assert (used.text.truncation, used.train.seed) == ("random_ends", 7)


def test_weights_lie_in_aligned_memory_wherever_they_come_from(tmp_path):
    finetune(short_recipe("rte", "card"), tmp_path / "run")
    model = tmp_path / "run" / "model"
    files = find_model(str(model), from_scratch=False)
    built = build_model(files, TASKS["rte"], from_scratch=False, head_dropout=None, seed=0, quiet=True)
    assert all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in (*built.parameters(), *built.buffers()))
    mapped = load_file(model / "model.safetensors")
    assert any(tensor.data_ptr() % ALIGNMENT for tensor in mapped.values()), "the file maps aligned: this test sees nothing"


def test_checkpoint_is_read_into_aligned_memory(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 1))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint.save_checkpoint(tmp_path, "step-000001", 1, model, optimizer, {})
    restored = checkpoint.load_newest(tmp_path)
    assert all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in (*restored.weights.values(), *restored.moments.values()))
