"""The model card and what is pushed: evidence that the hub's own library reads, and nothing that names the user's machine."""

import hashlib
import json
import os
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from conftest import write_tsv
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from sealing import seal_result
from typer.testing import CliRunner

from debft.cli.main import app
from debft.config.packaged import recipe_path
from debft.config.reading import from_dict, load_recipe
from debft.config.recipe_hash import recipe_hash
from debft.errors import HubError, InputError
from debft.output.card import clean, licences
from debft.output.card import push as pushing
from debft.output.card.card import model_card
from debft.output.card.clean import LOCAL, Cleaner, is_local
from debft.output.card.results import eval_results, eval_results_yaml
from debft.output.card.subject import subject_of
from debft.runs.result import ComparedScore, RowWarning
from debft.tasks import TASKS
from debft.training.run import finetune

TELLTALE = "jane-telltale"
USER, HOST = "janedoe", "janes-laptop"
SETTINGS = {"train.max_steps": 2, "train.learning_rate": 3e-3, "task": "text"}
REVIEWS = [("a bad red fox", "bad"), ("a good dog", "good"), ("a quite green cow", "good"), ("nothing of that", "bad")] * 10


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on a file of the user's own, all of it in a directory with a telltale name."""
    home = tmp_path_factory.mktemp("home") / TELLTALE
    home.mkdir()
    write_tsv(home / "secret-reviews.tsv", ["review", "label"], REVIEWS)
    own = {"own.validation": 0.25, "data": str(home / "secret-reviews.tsv"), "note": f"seen at {home}/notes/a.txt"}
    finetune(load_recipe(recipe_path("demo"), SETTINGS | own), home / "run")
    seal_result(home / "run", command=f"debft text --data {home}/secret-reviews.tsv", warnings=[f"on {HOST} of {USER}: {home}/x"])
    return home / "run"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with a name, a user with one, and no network."""
    monkeypatch.setattr(clean.socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(clean.getpass, "getuser", lambda: USER)

    def refuse(*_, **__):
        raise AssertionError("a card needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def subject(run):
    return subject_of(str(run))


@pytest.fixture
def published(subject):
    """The same run as if it were one of RTE on the rows of the hub, with a published cell."""
    result, task = subject.result, TASKS["rte"]
    compared = ComparedScore(
        score="validation/accuracy",
        ours=80.0,
        value=81.0,
        difference=-1.0,
        verdict="undecided (1 seed)",
        table="t",
        row="r",
        cell="81.0",
    )
    result = replace(
        result,
        task="rte",
        model="deberta-v3-small",
        scores={"validation/accuracy": 80.0},
        intervals={"validation/accuracy": [75.0, 85.0]},
        num_examples={"validation": 277},
        published=[compared],
        not_compared=None,
        data=replace(result.data, source="hub"),
    )
    return replace(subject, result=result, used=replace(subject.used, task=task), shown_recipe=scratchless(subject.shown_recipe))


def scratchless(recipe):
    return recipe | {"train": recipe["train"] | {"from_scratch": False}}


def pushed_bytes(subject):
    files = pushing.pushed_files(subject, "me/model", None)
    return {file.name: file.content if file.path is None else file.path.read_bytes() for file in files}


def test_card_is_read_by_the_hubs_own_library(published):
    text = str(model_card(published, license_name="mit"))
    data = ModelCard(text).data
    assert (data.license, data.base_model, data.datasets) == ("mit", "microsoft/deberta-v3-small", ["nyu-mll/glue"])
    assert data.pipeline_tag == "text-classification"
    (result,) = data.eval_results
    assert (result.dataset_type, result.dataset_config, result.dataset_split) == ("nyu-mll/glue", "rte", "validation")
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.8)
    assert result.dataset_revision == TASKS["rte"].revision


def test_head_of_a_card_survives_a_round_trip(published):
    text = str(model_card(published))
    head = yaml.safe_load(text.split("---")[1])
    assert model_index_to_eval_results(head["model-index"])[1] == eval_results(published)
    assert ModelCard(str(ModelCard(text))).data.to_dict() == ModelCard(text).data.to_dict() == head


def test_eval_results_have_the_hubs_format(published):
    entries = parse_eval_result_entries(yaml.safe_load(eval_results_yaml(published)))
    (entry,) = entries
    assert isinstance(entry, EvalResultEntry)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("nyu-mll/glue", "rte", 0.8)
    assert "[75.00, 85.00]" in entry.notes


def test_card_shows_score_interval_rows_cell_and_verdict(published):
    row = next(line for line in str(model_card(published)).splitlines() if line.startswith("| RTE"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "RTE accuracy", "80.00", "[75.00, 85.00]", "277", "81.0 (t, r)", "−1.00", "undecided (1 seed)"
    ]  # fmt: skip


def test_run_that_is_not_compared_shows_no_published_cell(published):
    published = replace(published, result=replace(published.result, not_compared="other rows"))
    text = str(model_card(published))
    assert "81.0 (t, r)" not in text and "Not set beside a published number: other rows" in text


def test_card_holds_recipe_digests_seed_and_versions(subject, run):
    text, result = str(model_card(subject)), subject.result
    digest = hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()
    assert digest in text and recipe_hash(subject.recipe) in text
    assert all(fingerprint in text for fingerprint in result.data.fingerprints.values())
    assert f"torch {result.environment['torch']}" in text and f"| seed | {subject.recipe.train.seed} |" in text
    shown = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert shown == subject.shown_recipe


def test_card_has_a_table_of_classes(subject):
    text = str(model_card(subject))
    for one in subject.analysis.splits["validation"].classes:
        assert f"| {one.label} | {one.precision:.2f} | {one.recall:.2f} | {one.f1:.2f} | {one.support} | {one.predicted} |" in text


def test_card_says_what_was_cut_and_warned(subject):
    lengths = {name: replace(one, cut=7) for name, one in subject.result.data.lengths.items()}
    warning = RowWarning(kind="leak", split="validation", count=3, of=9, what="3 rows are training rows", examples=["a.csv:3"])
    data = replace(subject.result.data, lengths=lengths, warnings=[warning])
    text = str(model_card(replace(subject, result=replace(subject.result, data=data, warnings=["all one label"]))))
    assert "7 inputs were longer" in text and "3 rows are training rows" in text and "all one label" in text


@pytest.mark.parametrize("change", ["demo rows", "demo model", "own rows", "some rows", "other rows"])
def test_scores_that_could_look_published_are_in_no_index(published, subject, change):
    result = published.result
    changed = {
        "demo rows": replace(published, result=replace(result, data=replace(result.data, source="demo"))),
        "demo model": replace(published, result=replace(result, model="demo")),
        "own rows": subject,
        "some rows": replace(
            published, recipe=replace(published.recipe, train=replace(published.recipe.train, max_eval_samples=5))
        ),
        "other rows": replace(published, result=replace(result, num_examples={"validation": 5})),
    }[change]
    card = ModelCard(str(model_card(changed)))
    assert "model-index" not in card.data.to_dict() and eval_results_yaml(changed) is None
    assert "in no index of results" in card.text
    assert ("Demo: this is not a model to use" in card.text) == (change in ("demo rows", "demo model", "own rows"))


def test_licences_are_named_with_their_source_or_unknown():
    assert licences.model_licence("microsoft/deberta-v3-base").name == "MIT"
    assert licences.model_licence(None).name == licences.model_licence("some/model").name == "unknown"
    assert licences.data_licences("cola", "nyu-mll/glue", demo=False)["nyu-mll/glue"].name == "unknown"
    assert all(one.source for task in TASKS for one in licences.data_licences(task, TASKS[task].dataset, demo=False).values())


def test_example_of_the_card_gives_the_label_of_debft(subject, run, capsys):
    text = str(model_card(subject, repository=str(run / "model")))
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(code, {})
    assert re.search(r"'label': '(bad|good)'", capsys.readouterr().out)


def test_no_pushed_file_names_the_machine(subject, run):
    contents = pushed_bytes(subject)
    assert {"README.md", "recipe.yaml", "result.json", "config.json", "model.safetensors", "tokenizer.json"} <= contents.keys()
    telltales = (TELLTALE, "secret-reviews", USER, HOST, str(run), str(run.parent.parent))
    found = [(name, word) for name, content in contents.items() for word in telltales if word.encode() in content]
    assert found == []


def test_configuration_that_names_a_path_is_cleaned(subject, run, tmp_path):
    copied = tmp_path / "model"
    shutil.copytree(run / "model", copied)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"_name_or_path": str(run), "from": f"{run.parent}/base"}))
    shutil.copy(run / "recipe.yaml", tmp_path)
    moved = replace(subject, run=replace(subject.run, path=tmp_path))
    content = json.loads(pushed_bytes(moved)["config.json"])
    assert "_name_or_path" not in content and content.pop("from").startswith(LOCAL)
    assert content == config


def test_path_that_cannot_be_cleaned_ends_the_push():
    cleaner = Cleaner(paths=(os.sep.join(("", "home", "jane", "run")),), names=())
    with pytest.raises(InputError, match="without paths of this machine"):
        cleaner.check("tokenizer.json", os.sep.join(("x", "home", "jane", "run")).encode())


def test_pushed_recipe_and_result_are_still_read(subject):
    contents = pushed_bytes(subject)
    assert from_dict(yaml.safe_load(contents["recipe.yaml"]), "recipe.yaml").data == LOCAL
    assert json.loads(contents["result.json"])["command"] is None
    assert json.loads(contents["result.json"])["scores"] == subject.result.scores


def test_web_addresses_and_names_of_the_hub_are_no_paths():
    cleaner = Cleaner(paths=(), names=())
    for text in (
        "https://github.com/microsoft/DeBERTa/blob/x",
        "microsoft/deberta-v3-small",
        "DeBERTa/apps/run.py",
        "validation/f1",
    ):
        assert cleaner.text(text) == text
    assert cleaner.text("see /srv/data/jane/a.csv, or ~/jane/b") == f"see {LOCAL}, or {LOCAL}"
    assert not any(map(is_local, ("hub", "demo", "deberta-v3-small", "google-bert/bert-base-uncased")))
    assert all(map(is_local, ("reviews.csv", "./x", "~/x", "/a/b/c", "a/b/c")))


def test_dry_run_lists_every_file_and_all_that_is_left_out(run):
    done = CliRunner().invoke(app, ["push", str(run), "--repo", "me/model", "--dry-run", "--json"])
    content = json.loads(done.stdout)
    weights = next(file for file in content["files"] if file["name"] == "model.safetensors")
    assert weights["sha256"] == hashlib.sha256((run / "model/model.safetensors").read_bytes()).hexdigest()
    assert weights["bytes"] == (run / "model/model.safetensors").stat().st_size
    here = {path.name for path in run.iterdir()} - {"model", ".lock", "recipe.yaml", "result.json"}
    assert content["left_out"].keys() == here and all(content["left_out"].values())
    assert content["url"] is None and not content["public"]


def test_dry_run_names_what_somebody_put_beside_the_model(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/model/.env").write_text("A=1")
    (tmp_path / "run/notes.txt").write_text("mine")
    done = CliRunner().invoke(app, ["push", str(tmp_path / "run"), "--repo", "me/model", "--dry-run", "--json"])
    content = json.loads(done.stdout)
    assert content["left_out"]["model/.env"] == content["left_out"]["notes.txt"] == "no run wrote it"
    assert not {"model/.env", ".env"} & {file["name"] for file in content["files"]}


def test_push_is_one_commit_of_the_listed_files(subject, monkeypatch):
    seen = []
    monkeypatch.setattr(pushing, "require_hub", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(pushing, "commit", lambda repository, files, **given: seen.append((repository, files, given)) or "url")
    files = pushing.pushed_files(subject, "me/model", None)
    assert pushing.push("me/model", files, public=False, message="Add it") == "url"
    assert seen == [("me/model", files, {"public": False, "message": "Add it", "token": "hf_secret"})]


def test_push_without_a_hub_is_one_line(subject, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set; connect to it, or add --dry-run"):
        pushing.push("me/model", [], public=False, message="")


def test_push_without_a_token_says_how_to_log_in(monkeypatch):
    monkeypatch.setattr(pushing, "require_hub", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="hf auth login"):
        pushing.push("me/model", [], public=False, message="")


class Api:
    """A hub with one repository, that takes what it is given."""

    made: list = []
    private = True

    def __init__(self, token):
        assert token == "hf_secret"

    def create_repo(self, repository, *, private, exist_ok):
        self.made.append((repository, private))

    def model_info(self, _):
        return self

    def create_commit(self, _, operations, commit_message):
        self.made.append([operation.path_in_repo for operation in operations])
        self.commit_url = "https://hub/commit"
        return self


@pytest.mark.parametrize("is_public", [False, True])
def test_commit_is_private_unless_asked_and_not_into_a_public_repository(monkeypatch, is_public):
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "private", not is_public)
    monkeypatch.setattr(Api, "made", [])
    files = [pushing.PushedFile(name="README.md", content=b"x")]
    if is_public:
        with pytest.raises(InputError, match="it is public; give --public"):
            pushing.commit("me/m", files, public=False, message="m", token="hf_secret")
        assert Api.made == [("me/m", True)]
    else:
        assert pushing.commit("me/m", files, public=False, message="m", token="hf_secret") == "https://hub/commit"
        assert Api.made == [("me/m", True), ["README.md"]]


@pytest.mark.parametrize("repository", ["model", "a/b/c", "me/..", "me/a b"])
def test_repository_without_owner_or_with_a_wrong_name_is_refused(repository):
    with pytest.raises(InputError, match="expected OWNER/NAME"):
        pushing.check_repository(repository)


def test_card_is_written_or_printed_and_given_as_json(run, tmp_path):
    done = CliRunner().invoke(app, ["card", str(run), "--json", "--license", "mit", "--output", str(tmp_path / "CARD.md")])
    content = json.loads(done.stdout)
    assert content["card"] == (tmp_path / "CARD.md").read_text() and content["data"]["license"] == "mit"
    assert Path(content["output"]).name == "CARD.md" and content["eval_results"] == []


def test_model_that_is_no_run_has_no_card(run):
    with pytest.raises(InputError, match="expected the directory of a run"):
        subject_of(str(run / "model"))


def test_card_says_where_a_threshold_was_chosen(subject):
    used = replace(subject.used, settings=subject.used.settings | {"no_answer_threshold": -1.5})
    said = "the threshold of no answer was chosen on the rows that they are of (-1.5)"
    assert said in str(model_card(replace(subject, used=used)))


def test_card_shows_the_thresholds_of_labels_as_words(subject):
    used = replace(subject.used, settings=subject.used.settings | {"label_thresholds": {"a|b": 0.25, "c": 0.5}})
    assert r"the threshold of each label was chosen on the rows that they are of (a\|b 0.25, c 0.5)" in str(
        model_card(replace(subject, used=used))
    )


def test_card_says_how_many_rows_were_held_out_of_which(subject):
    assert "| held out | validation 25 % of 40 rows, seed 42 |" in str(model_card(subject))


@pytest.mark.parametrize("name", ["Apache 2.0", "MIT", ""])
@pytest.mark.parametrize("command", [["card"], ["push", "--repo", "me/model", "--dry-run"]])
def test_licence_that_the_hub_would_refuse_is_refused_before_the_run_is_read(command, name):
    done = CliRunner().invoke(app, [*command, "no-such-run", "--license", name])
    assert isinstance(done.exception, InputError)
    assert done.exception.problems[0].startswith(f"--license {name}: expected a licence as the hub names it")


def test_user_whom_the_system_does_not_know_has_a_card(subject, monkeypatch):
    """As in a container that is started with the number of a user."""

    def unknown(*_):
        raise KeyError("uid not found: 12345")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr(clean.getpass, "getuser", unknown)
    cleaner = clean.cleaner_of(subject.run, subject.result)
    assert HOST in cleaner.names and cleaner.paths and "~" not in cleaner.paths


def test_words_of_a_recipe_stay_where_the_user_is_called_so():
    cleaner = Cleaner(paths=(), names=("card",))
    assert (cleaner.text("card"), cleaner.text("card/model")) == ("card", "card/model")
    assert cleaner.text("it ran for card here") == "it ran for (taken out) here"


def test_directory_with_a_common_name_leaves_sentences_alone():
    cleaner = Cleaner(paths=("data",), names=())
    assert (cleaner.text("data"), cleaner.text("demo data of datasets")) == (LOCAL, "demo data of datasets")
