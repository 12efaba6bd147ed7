"""A fine-tuned model at work: the scores of its run again, labels by name, and one line for every mistake."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_mnli, write_tsv
from processes import Command
from processes import run as command
from sealing import seal_recipe

from debft.cli import use
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import HubError, InputError
from debft.output.terminal import predict_line
from debft.scoring import formats, inference, loading
from debft.scoring.inputs import examples_to_label
from debft.scoring.used_model import find_used_model
from debft.training.run import finetune

PAIRS = [
    {"premise": "the white fox slept .", "hypothesis": "the fox was white .", "id": "p1"},
    {"premise": "", "hypothesis": "é \u200b 我", "id": "p2"},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run, its directory and its data."""
    root = tmp_path_factory.mktemp("trained")
    data = write_mnli(root / "data")
    settings = {"task": "mnli", "data": str(data), "train.num_train_epochs": 2}
    return finetune(load_recipe(recipe_path("demo"), settings), root / "run"), root / "run", data


def test_evaluate_gives_the_scores_of_the_run_again(trained):
    result, run, data = trained
    assert inference.evaluate(loading.load_predictor(str(run), None, "auto"), None)["scores"] == result.scores
    by_model = loading.load_predictor(str(run / "model"), "mnli", "auto")
    assert inference.evaluate(by_model, str(data))["scores"] == result.scores


def test_last_line_of_a_run_works_as_it_is_typed(trained):
    result, run, _ = trained
    done = command(*shlex.split(predict_line(result, run))[1:])
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert json.loads(done.stdout)["prediction"] in ("entailment", "neutral", "contradiction")


def test_rows_that_are_cut_are_counted(trained, tmp_path, capsys):
    short, long = {"premise": "a fox", "hypothesis": "an owl"}, {"premise": "fox " * 300, "hypothesis": "an owl"}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (short, long, short)))
    predictor = loading.load_predictor(str(trained[1]), None, "auto")
    capsys.readouterr()
    assert len(list(inference.label(predictor, str(file)))) == 3
    longest = predictor.recipe.text.max_seq_length
    line = f"warning: 1 of 3 rows are longer than the {longest} tokens that the model was trained on: cut\n"
    assert line in capsys.readouterr().err
    list(inference.label_rows(predictor, examples_to_label([str(file)], predictor.loaded.task, None, None).part(0, 1)))
    assert "cut" not in capsys.readouterr().err


def test_evaluate_prints_json_alone(trained):
    _, run, _ = trained
    done = command("evaluate", run, "--json", "--max-eval-samples", 5)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_examples"] == {"validation_matched": 5, "validation_mismatched": 5}


def test_predictions_of_the_dev_rows_are_those_of_the_run(trained):
    _, run, data = trained
    predictor = loading.load_predictor(str(run), None, "auto")
    rows = list(inference.label(predictor, str(data / "mnli" / "validation_matched.tsv")))
    of_run = [json.loads(line) for line in (run / "predictions" / "validation_matched.jsonl").read_text().splitlines()]
    assert [(row["id"], row["prediction"]) for row in rows] == [(row["id"], row["prediction"]) for row in of_run]
    for a, b in zip(rows, of_run, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=2e-6)


@pytest.mark.parametrize("form", ["jsonl", "tsv"])
def test_stdin_is_labelled_line_by_line_without_labels_in_it(trained, form):
    text = "".join(json.dumps(pair) + "\n" for pair in PAIRS)
    if form == "tsv":
        text = "premise\thypothesis\tid\n" + "".join(f"{p['premise']}\t{p['hypothesis']}\t{p['id']}\n" for p in PAIRS)
    done = command("predict", trained[1], stdin=text)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["p1", "p2"]
    assert all(
        set(row["scores"]) == {"entailment", "neutral", "contradiction"} and row["prediction"] in row["scores"] for row in rows
    )


def test_own_texts_do_not_go_into_the_cache(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    write_tsv(tmp_path / "secret.tsv", ["premise", "hypothesis"], [("the fox", "slept")])
    list(inference.label(loading.load_predictor(str(trained[1]), None, "auto"), str(tmp_path / "secret.tsv")))
    assert not (tmp_path / "cache" / "encoded").exists()


def foreign(model: Path, directory: Path) -> Path:
    """A copy of a fine-tuned model as another program would leave it: its config.json does not name the task."""
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text())
    del config["debft"]
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_model_knows_its_task_and_how_to_be_used(trained):
    config = json.loads((trained[1] / "model" / "config.json").read_text())
    cut = {"max_seq_length": 64, "swap_texts": False, "truncation": "longest_first", "seed": 42}
    assert config["debft"] == {"task": "mnli", **cut, "precision": "fp32"}
    assert loading.load_predictor(str(trained[1] / "model"), None, "auto").recipe.text.max_seq_length == 64


def test_model_of_another_program_needs_its_task(trained, tmp_path):
    predictor = loading.load_predictor(str(foreign(trained[1] / "model", tmp_path / "m")), "mnli", "auto")
    assert (predictor.loaded.task.name, predictor.recipe.text.max_seq_length) == ("mnli", 256)


def test_head_of_another_task_is_an_error_and_not_a_wrong_label(trained, tmp_path):
    with pytest.raises(InputError, match="expected a head for entailment, not_entailment, it has one for entailment, neutral"):
        loading.load_predictor(str(foreign(trained[1] / "model", tmp_path / "m")), "rte", "auto")


def read_back(text: str) -> list[dict[str, str]]:
    """Rows of the TSV, with its escapes taken back."""
    header, *lines = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    plain = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\"}
    cells = [[re.sub(r"\\.", lambda match: plain[match[0]], cell) for cell in line] for line in lines]
    return [dict(zip(header, line, strict=True)) for line in cells]


def test_tsv_has_the_names_and_probabilities_of_the_jsonl(trained, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(pair | {"id": f"{pair['id']}\t\\t\r\né"}) + "\n" for pair in PAIRS))
    rows = list(inference.label(loading.load_predictor(str(trained[1]), None, "auto"), str(file)))
    done = command("predict", trained[1], file, "--format", "tsv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "id\tprediction\tentailment\tneutral\tcontradiction"
    assert done.stdout.count("\n") == 3 and r"p1\t\\t\r\né" in done.stdout
    flat = [{"id": row["id"], "prediction": row["prediction"]} | {k: str(p) for k, p in row["scores"].items()} for row in rows]
    assert read_back(done.stdout) == flat


ANSWERS = [
    {"id": 'a"', "prediction": "tab\there, \\n there", "start": 3, "end": 20, "scores": {"answer": 0.1 + 0.2, "no_answer": 1e-9}},
    {"id": "b", "prediction": "", "start": None, "end": None, "scores": {"answer": 0.0, "no_answer": 1.0}},
    {"id": "c", "prediction": "line\r\nline \u2028 我\\", "start": 0, "end": 14, "scores": {"answer": 0.5, "no_answer": 0.5}},
]


def test_answers_survive_the_tsv_to_the_last_character():
    cells = read_back("".join(line + "\n" for line in formats.FORMATS["tsv"](iter(ANSWERS))))
    assert list(cells[0]) == ["id", "prediction", "start", "end", "answer", "no_answer"]
    for row, read in zip(ANSWERS, cells, strict=True):
        assert (row["id"], row["prediction"]) == (read["id"], read["prediction"])
        assert (row["start"], row["end"]) == tuple(int(read[key]) if read[key] else None for key in ("start", "end"))
        assert row["scores"] == {key: float(read[key]) for key in row["scores"]}


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("jsonl", '{"id": "7", "texts": ["a\\tb", "c"], "prediction": "x", "scores": {"x": 1.0}}'),
        ("tsv", '7\t["a\\\\tb", "c"]\tx\t1.0'),
    ],
)
def test_texts_stand_behind_the_id_where_they_are_asked_for(form, line):
    row = {"id": "7", "prediction": "x", "scores": {"x": 1.0}}
    assert list(formats.FORMATS[form](formats.beside_texts([row], [("a\tb", "c")])))[-1] == line


def test_label_named_as_a_column_takes_no_other_columns_place():
    row = {"id": "7", "prediction": "a\tb", "scores": {"id": 0.25, "a\tb": 0.75}}
    assert list(formats.FORMATS["tsv"](iter([row]))) == ["id\tprediction\tid\ta\\tb", "7\ta\\tb\t0.25\t0.75"]


def test_score_has_one_column_beside_the_prediction():
    row = {"id": "0", "prediction": 2.5, "scores": {"score": 2.5}}
    assert list(formats.FORMATS["tsv"](iter([row]))) == ["id\tprediction\tscore", "0\t2.5\t2.5"]


MISTAKES = {
    "format": (["predict", "RUN", "--format", "xml"], "--format xml: expected jsonl or tsv"),
    "no task": (["evaluate", "MODEL"], "expected a run directory, or --task for a model; expected one of mnli, cola"),
    "unknown task": (["evaluate", "MODEL", "--task", "mnl"], "--task: unknown task 'mnl'; did you mean 'mnli'?"),
    "another task": (["evaluate", "RUN", "--task", "rte"], "is a model of mnli; leave --task out"),
    "nothing there": (["predict", "nowhere", "--task", "mnli"], "nowhere: no such run or model directory; `debft runs` lists"),
    "no file": (["predict", "RUN", "nowhere.jsonl"], "nowhere.jsonl: expected a file or a text, found no such file"),
    "empty stdin": (["predict", "RUN"], ", JSONL, or TSV with a header line, got nothing"),
    "column": (["predict", "RUN", "COLUMN"], "expected the columns premise, hypothesis, got premise; 'hypothesis' is missing"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(trained, tmp_path, name):
    write_tsv(tmp_path / "column.tsv", ["premise"], [("a",)])
    places = {"MODEL": foreign(trained[1] / "model", tmp_path / "m"), "RUN": trained[1], "COLUMN": tmp_path / "column.tsv"}
    arguments, message = MISTAKES[name]
    done = command(*(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert done.stdout == ""


def settings_changed(model: Path, directory: Path, **changes) -> Path:
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text())
    config["debft"] |= changes
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "foo"}, "debft.task: expected one of mnli, cola"),
        ({"no_answer_threshold": float("nan")}, "debft.no_answer_threshold: expected a number, got nan"),
        ({"no_answer_threshold": 10**400}, "debft.no_answer_threshold: expected a number, got 1000"),
        ({"no_answer_threshold": True}, "debft.no_answer_threshold: expected a number, got True"),
        ({"max_seq_length": 100_000}, "debft.max_seq_length: expected at most 8192, got 100000"),
        ({"max_seq_length": "long"}, "max_seq_length: expected a whole number, got 'long'"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_damaged_settings_of_a_model_are_one_clear_line(trained, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        loading.load_predictor(str(settings_changed(trained[1] / "model", tmp_path / "m", **changes)), None, "auto")
    assert message in str(error.value) and str(tmp_path / "m" / "config.json") in str(error.value)


def test_run_directory_that_is_not_there_is_no_question_of_the_hub(tmp_path):
    done = command("evaluate", tmp_path / "nope")
    line = f"{tmp_path / 'nope'}: no such run or model directory; `debft runs` lists the runs that are here\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_word_that_is_no_model_is_not_taken_for_the_option_of_one():
    with pytest.raises(InputError, match=r"^nice-words: no such run or model directory; `debft runs` lists"):
        find_used_model("nice-words", None)


def test_model_without_weights_is_named_as_it_was_typed(demo_model):
    with pytest.raises(InputError) as error:
        find_used_model(str(demo_model), "mnli")
    assert str(error.value).startswith(f"{demo_model}: expected weights") and "--" not in str(error.value)


def test_file_is_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\n")
    with pytest.raises(InputError, match=r"^rows.csv: expected the directory of a run or of a model, got a file$"):
        find_used_model("rows.csv", None)


def test_run_that_is_not_there_is_not_only_looked_for_on_the_hub(tmp_path, monkeypatch):
    """Nobody typed --model, and what looks like a model of the hub is more often a run in another directory."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        HubError, match=r"^runs/mine: no such run or directory; as a model of the hub .* HF_HUB.*; `debft runs` lists the runs"
    ):
        find_used_model("runs/mine", None)


def test_reader_that_has_read_enough_ends_predict_quietly(trained, tmp_path):
    (tmp_path / "many.jsonl").write_text("".join(json.dumps({**PAIRS[0], "id": str(i)}) + "\n" for i in range(3000)))
    os.mkfifo(tmp_path / "pipe")
    predict = Command("predict", trained[1], tmp_path / "many.jsonl", stdout=tmp_path / "pipe")
    with (tmp_path / "pipe").open() as reader:
        assert json.loads(reader.readline())["id"] == "0"
    _, said = predict.communicate()
    assert predict.returncode == 0 and "Traceback" not in said


def test_evaluate_prints_each_score_with_its_interval_and_rows(trained):
    done = command("evaluate", trained[1], "--max-eval-samples", "5")
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["score", "95", "%", "interval", "rows"]
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [
        ("validation_matched/accuracy", "5"),
        ("validation_mismatched/accuracy", "5"),
    ]
    assert all(re.search(r"\[\d+\.\d\d, \d+\.\d\d\]", line) for line in lines)
    fields = [line.split()[0] for line in done.stderr.splitlines()]
    assert [field for field in fields if field != "loading"] == [
        "task",
        "model",
        "data",
        "device",
        "time",
    ]  # said where it takes long


def test_dry_run_of_evaluate_shows_rows_and_lengths_and_loads_no_model(trained, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_model", None)
    use.evaluate(str(trained[1]), dry_run=True, as_json=True, max_eval_samples=5)
    out, err = capsys.readouterr()
    splits = json.loads(out)["splits"]
    assert {name: (split["rows"], split["cut"]) for name, split in splits.items()} == {
        "validation_matched": (5, 0),
        "validation_mismatched": (5, 0),
    }
    assert "no model ran, nothing was scored" in err and "device     cpu" in err


def test_dry_run_of_predict_counts_what_is_cut(trained, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_model", None)
    use.predict(str(trained[1]), ["the fox " * 500, "slept ."], dry_run=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "1 of 1 are longer than the maximum and were cut" in err and "longest 64" in err


def test_rows_that_the_run_was_not_scored_on_are_said(trained, tmp_path, capsys):
    run = shutil.copytree(trained[1], tmp_path / "run")
    seal_recipe(run, "max_eval_samples: null", "max_eval_samples: 3")
    use.evaluate(str(run), dry_run=True)
    assert "the run was scored on the first 3 rows of each split, here all are" in capsys.readouterr().err


WRONG_DATA = {
    "missing rows to label": ["predict", "RUN", "HERE/nowhere.jsonl"],
    "rows to label without a column": ["predict", "RUN", "HERE/column.tsv"],
    "missing rows to score": ["evaluate", "RUN", "--data", "HERE/nowhere"],
    "rows to score without a column": ["evaluate", "RUN", "--data", "HERE/column.tsv"],
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_data_is_named_before_torch_is_imported(trained, tmp_path, name):
    write_tsv(tmp_path / "column.tsv", ["premise"], [("a",)])
    words = [word.replace("RUN", str(trained[1])).replace("HERE", str(tmp_path)) for word in WRONG_DATA[name]]
    code = (
        "import sys\nfrom debft.cli.main import main\n"
        "try:\n    main()\nfinally:\n    assert not {'torch', 'transformers'} & {*sys.modules}, 'imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_json_list_on_stdin_is_read_as_json(trained):
    done = command("predict", trained[1], stdin=json.dumps(PAIRS, indent=1))
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["p1", "p2"], done.stderr
