"""Starting from a run: its encoder, and its head only where that has the task's labels."""

import json

import pytest
import torch
from conftest import write_mnli, write_tsv
from safetensors.torch import load_file

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe_hash import recipe_hash
from debft.errors import InputError
from debft.models.build import build_model
from debft.models.files import ModelFiles, find_model
from debft.tasks import TASKS
from debft.training.describe import describe
from debft.training.plan import make_plan
from debft.training.run import finetune


def recipe(task, data, **changes):
    small = {"train.max_steps": 4, "train.train_batch_size": 8, "train.warmup_steps": 0}
    return load_recipe(recipe_path("demo"), {"task": task, "data": str(data), **small, **changes})


@pytest.fixture(scope="module")
def mnli_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("mnli")
    finetune(recipe("mnli", write_mnli(root / "data")), root / "run")
    return root / "run"


@pytest.fixture
def rte_data(tmp_path):
    rows = [("the fox slept .", "the fox slept .", "entailment"), ("a", "b", "not_entailment")] * 10
    for split in ("train", "validation"):
        write_tsv(tmp_path / "data" / "rte" / f"{split}.tsv", ["sentence1", "sentence2", "label"], rows)
    return tmp_path / "data"


def started_from(mnli_run, task, **options):
    options = {"from_scratch": False, "head_dropout": None, "seed": 0, "quiet": True} | options
    return build_model(find_model(str(mnli_run / "model"), from_scratch=False), TASKS[task], **options)


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def test_encoder_and_pooler_come_from_the_run_and_the_head_is_new(mnli_run):
    source = weights(mnli_run)
    model = started_from(mnli_run, "rte").state_dict()
    assert model["classifier.weight"].shape[0] == 2
    assert all(torch.equal(model[name], tensor) for name, tensor in source.items() if not name.startswith("classifier"))


def test_head_of_the_same_size_but_for_other_labels_is_new(mnli_run, rte_data, tmp_path):
    """RTE's two outputs mean nothing for MRPC, although they would fit."""
    finetune(recipe("rte", rte_data), tmp_path / "rte")
    source, model = weights(tmp_path / "rte"), started_from(tmp_path / "rte", "mrpc").state_dict()
    assert model["classifier.weight"].shape == source["classifier.weight"].shape
    assert not torch.equal(model["classifier.weight"], source["classifier.weight"])
    again = started_from(tmp_path / "rte", "mrpc").state_dict()
    assert torch.equal(model["classifier.weight"], again["classifier.weight"])  # drawn by the seed
    assert not torch.equal(
        model["classifier.weight"], started_from(tmp_path / "rte", "mrpc", seed=1).state_dict()["classifier.weight"]
    )


def test_head_for_the_same_labels_stays(mnli_run):
    source, model = weights(mnli_run), started_from(mnli_run, "xnli").state_dict()
    assert torch.equal(model["classifier.weight"], source["classifier.weight"])


def test_run_starts_from_the_run_and_says_so(mnli_run, rte_data, tmp_path, capsys):
    still = {"train.learning_rate": 1e-7}
    started = finetune(recipe("rte", rte_data, init_from=str(mnli_run), **still), tmp_path / "a")
    assert str(mnli_run) in capsys.readouterr().err
    fresh = finetune(recipe("rte", rte_data, **still), tmp_path / "b")
    assert started.recipe["init_from"] == str(mnli_run) and fresh.recipe["init_from"] is None
    name = "deberta.encoder.layer.0.attention.self.query_proj.weight"
    source, after, other = (weights(run)[name] for run in (mnli_run, tmp_path / "a", tmp_path / "b"))
    assert (after - source).norm() < 0.01 * (other - source).norm()


def test_init_from_ends_the_recipes_from_scratch_but_not_the_users(mnli_run, rte_data):
    assert load_recipe(recipe_path("demo")).train.from_scratch
    assert not recipe("rte", rte_data, init_from=str(mnli_run)).train.from_scratch
    with pytest.raises(InputError, match=r"--init-from .*: expected weights to start from, --from-scratch asks for random ones"):
        make_plan(recipe("rte", rte_data, init_from=str(mnli_run), **{"train.from_scratch": True}))


def test_directory_that_is_no_complete_run_is_refused(rte_data, tmp_path):
    with pytest.raises(InputError, match="expected a complete run directory, found none"):
        make_plan(recipe("rte", rte_data, init_from=str(tmp_path / "nowhere"), **{"train.from_scratch": False}))


def test_run_of_another_model_is_refused(mnli_run, rte_data):
    changes = {"init_from": str(mnli_run), "model": "deberta-base", "train.from_scratch": False}
    with pytest.raises(InputError, match="expected a run of deberta-base, got one of demo; give --model demo"):
        make_plan(recipe("rte", rte_data, **changes))


def test_start_is_part_of_what_moves_the_score(mnli_run, rte_data):
    assert recipe_hash(recipe("rte", rte_data, init_from="a")) != recipe_hash(recipe("rte", rte_data))


def test_names_of_labels_that_were_never_given_leave_the_head_as_transformers_has_it(mnli_run, tmp_path):
    """LABEL_0, LABEL_1, ... say nothing, so a head of the right size is kept."""
    import shutil

    shutil.copytree(mnli_run / "model", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    del config["label2id"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    files = ModelFiles(name="m", path=tmp_path / "m")
    model = build_model(files, TASKS["mnli"], from_scratch=False, head_dropout=None, seed=0, quiet=True)
    assert torch.equal(model.state_dict()["classifier.weight"], weights(mnli_run)["classifier.weight"])


def test_recipe_that_starts_from_another_says_so_when_it_does_not(rte_data, mnli_run, capfd):
    for init_from, said in ((None, True), (str(mnli_run), False)):
        changes = {"init_from": init_from, "starts_from": "mnli/deberta-base", "train.from_scratch": init_from is None}
        describe(make_plan(recipe("rte", rte_data, **changes)))
        assert (
            "starts from the pre-trained model, the published one from the run of mnli/deberta-base" in capfd.readouterr().err
        ) == said


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_starts_from_a_recipe_of_its_model_that_starts_from_none(name):
    published = load_recipe(recipe_path(name))
    if published.starts_from:
        first = load_recipe(recipe_path(published.starts_from))
        assert (first.model, first.starts_from) == (published.model, None)


def test_recipes_that_were_published_behind_mnli_name_it():
    """Source: microsoft/DeBERTa at 4d7fe0b, experiments/glue, and footnote 1 of DeBERTa/sift/README.md."""
    assert {name for name in recipe_names() if load_recipe(recipe_path(name)).starts_from} == {
        "mrpc/deberta-base",
        "rte/deberta-base",
        "stsb/deberta-base",
        "rte/deberta-v2-xxlarge-sift",
    }
