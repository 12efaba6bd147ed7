"""A task command resolves the recipe that its options ask for."""

import contextlib

import pytest

from debft.cli import train
from debft.cli.accelerate_file import Launch
from debft.errors import DebftError, InputError, MachineError, NotFiniteError
from debft.library.resolving import resolve


def test_options_choose_recipe_and_strength():
    def resolved(model=None, **given):
        return resolve("mnli", {"model": model} if model else {}, **given)

    assert resolved(model="deberta-v3-small", sift=True).reproduces == "deberta-v3/DeBERTa-v3-small+SiFT/mnli"
    assert resolved(model="deberta-v3-large", sift=True).sift.weight == 5.0  # no recipe of its own: the published strength
    assert resolved(model="deberta-v3-xsmall", sift=True, assignments=["sift.weight=1.5"]).sift.weight == 1.5
    assert resolved(model="deberta-v3-xsmall").sift.weight == 0.0
    assert resolved(recipe="mnli/deberta-v3-xsmall-sift", sift=False).sift.weight == 0.0


@pytest.mark.parametrize(
    ("keys", "assignments"), [({"runtime.precision": "fp16"}, []), ({}, ["runtime.precision=fp16"])], ids=["option", "set"]
)
def test_precision_of_the_command_line_must_be_there_where_a_recipes_gives_way(keys, assignments, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model = {"model": "deberta-v3-xsmall"}
    assert resolve("mnli", model, sift=True).runtime.precision == "fp16"
    with pytest.raises(InputError, match="--precision fp16: expected a CUDA GPU"):
        resolve("mnli", model | keys, sift=True, assignments=assignments)


def test_sift_of_a_named_recipe_has_the_strength_of_its_model():
    """The published lambda is 3 for xsmall, also where the model is named by the recipe alone."""
    assert resolve("mnli", {}, recipe="mnli/deberta-v3-xsmall", sift=True).sift.weight == 3.0


def test_model_is_the_default_one_where_neither_recipe_nor_option_names_it(tmp_path):
    (tmp_path / "own.yaml").write_text("train:\n  seed: 7\n")
    for keys, model in (({}, "deberta-v3-xsmall"), ({"data": "demo"}, "demo"), ({"model": "deberta-base"}, "deberta-base")):
        resolved = resolve("mnli", keys, recipe=str(tmp_path / "own.yaml"))
        assert (resolved.task, resolved.model, resolved.train.seed) == ("mnli", model, 7)


def test_problem_of_a_typed_value_is_named_by_its_option():
    keys = {"languages.eval_languages": "xx", "train.seed": -1, "text.max_seq_length": 1}
    with pytest.raises(InputError) as raised:
        resolve("xnli", keys)
    assert [problem.partition(":")[0] for problem in raised.value.problems] == ["--seed", "--max-seq-length"]


def test_problem_of_the_strength_is_named_by_the_switch_that_set_it(monkeypatch):
    monkeypatch.setattr("debft.library.resolving.published_weight", lambda model: -1.0)
    with pytest.raises(InputError, match=r"^--sift: expected a number of at least 0, got -1\.0"):
        resolve("mnli", {"model": "deberta-v3-large"}, sift=True)


@pytest.mark.parametrize(("error", "leaves"), [(None, True), (NotFiniteError("a"), True), (MachineError("a"), False)])
def test_process_leaves_the_others_before_python_ends_unless_one_may_be_lost(error, leaves, monkeypatch, tmp_path):
    """With threads of gloo Python may end by SIGABRT; one that waits for a lost process never ends."""
    left = []

    def finetune(*_, **__):
        if error is not None:
            raise error

    monkeypatch.setattr("debft.training.run.finetune", finetune)
    monkeypatch.setattr(train, "leave_processes", lambda: left.append(True))
    monkeypatch.setattr(train, "is_main_process", lambda: False)
    flags = dict.fromkeys(("resume", "restart", "overwrite", "dry_run", "as_json"), False)
    options = dict.fromkeys(("recipe", "sift", "assignments", "seeds", "jobs")) | {"output": str(tmp_path / "run")}
    with contextlib.suppress(DebftError):
        train.fine_tune("mnli", {"data": "demo"}, launch=Launch(), **options, **flags)
    assert bool(left) == leaves
