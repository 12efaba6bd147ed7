"""The leaderboards' files: what is in them, which rules are checked, and what is refused before a model is loaded."""

import io
import json
import sys
import zipfile
from dataclasses import replace
from functools import cache

import pytest
from conftest import write_tsv

from debft.cli import main as cli
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.sources import demo
from debft.errors import InputError
from debft.output import leaderboards as submission
from debft.output.leaderboards import GLUE_FILES, check_glue, check_squad, submit
from debft.runs.directory import RunDirectory
from debft.runs.written import files_of
from debft.scoring import inference, loading
from debft.scoring.metrics import squad
from debft.tasks import TASKS
from debft.training.run import finetune

ROWS = 5
# Of each official file: the benchmark's own test file, its header, where our texts stand in it, and its predictions, all by hand.
PAIR = ("index\tsentence1\tsentence2", (1, 2))
PARSED = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1"
    "\tsentence2",
    (8, 9),
)
NLI = {"entailment": "entailment", "neutral": "neutral", "contradiction": "contradiction"}
TWO = {"entailment": "entailment", "not_entailment": "not_entailment"}
OFFICIAL = {
    "CoLA.tsv": ("CoLA/test.tsv", "index\tsentence", (1,), {"unacceptable": "0", "acceptable": "1"}),
    "SST-2.tsv": ("SST-2/test.tsv", "index\tsentence", (1,), {"negative": "0", "positive": "1"}),
    "MRPC.tsv": (
        "MRPC/test.tsv",
        "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String",
        (3, 4),
        {"not_equivalent": "0", "equivalent": "1"},
    ),
    "STS-B.tsv": (
        "STS-B/test.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        (7, 8),
        {-0.5: "0.000", 2.34567: "2.346", 5.25: "5.000"},
    ),
    "QQP.tsv": ("QQP/test.tsv", "id\tquestion1\tquestion2", (1, 2), {"not_duplicate": "0", "duplicate": "1"}),
    "MNLI-m.tsv": ("MNLI/test_matched.tsv", *PARSED, NLI),
    "MNLI-mm.tsv": ("MNLI/test_mismatched.tsv", *PARSED, NLI),
    "AX.tsv": ("diagnostic/diagnostic.tsv", *PAIR, NLI),
    "QNLI.tsv": ("QNLI/test.tsv", "index\tquestion\tsentence", (1, 2), TWO),
    "RTE.tsv": ("RTE/test.tsv", *PAIR, TWO),
    "WNLI.tsv": ("WNLI/test.tsv", *PAIR, {"not_entailment": "0", "entailment": "1"}),
}
# gluebenchmark.com; `wc -l` of the files.
COUNTS = {
    "CoLA.tsv": 1_063,
    "SST-2.tsv": 1_821,
    "MRPC.tsv": 1_725,
    "STS-B.tsv": 1_379,
    "QQP.tsv": 390_965,
    "MNLI-m.tsv": 9_796,
    "MNLI-mm.tsv": 9_847,
    "AX.tsv": 1_104,
    "QNLI.tsv": 5_463,
    "RTE.tsv": 3_000,
    "WNLI.tsv": 146,
}


def text_of(file: str, row: int, key: int) -> str:
    return f'{file} "{row} text {key}'


def write_test_file(data, file, numbers=range(ROWS)):
    """`ROWS` rows in the benchmark's own file; row i of it has the number numbers[i] and the texts of that number."""
    path, header, places, _ = OFFICIAL[file]
    columns = header.split("\t")
    rows = []
    for number in numbers:
        row = [str(number), *("x" for _ in columns[1:])]
        for key, place in enumerate(places):
            row[place] = text_of(file, number, key)
        rows.append(row)
    write_tsv(data / path, columns, rows)
    return data


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """A function from a task to a run of it on demo rows, one step long."""
    root = tmp_path_factory.mktemp("runs")

    @cache
    def trained(name):
        overrides = {"task": name, "train.max_steps": 1, "train.max_train_samples": 32, "train.max_eval_samples": 4}
        finetune(load_recipe(recipe_path("demo"), overrides), root / name)
        return str(root / name)

    return trained


def members(directory) -> dict[str, str]:
    with zipfile.ZipFile(directory / "glue.zip") as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_every_test_split_has_a_file_and_its_row_count():
    places = {f"{task.name}/{split.name}": split.num_rows for task in TASKS.values() for split in task.test}
    assert {GLUE_FILES[place]: count for place, count in places.items()} == COUNTS
    assert set(GLUE_FILES) == set(places)


@pytest.mark.parametrize("place", GLUE_FILES)
def test_official_file_has_every_prediction_as_the_benchmark_writes_it(run_of, tmp_path, monkeypatch, place):
    """From the benchmark's own test file, with predictions that are known: by name or score here, as official text there."""
    file, name = GLUE_FILES[place], place.partition("/")[0]
    for split in TASKS[name].test:
        write_test_file(tmp_path / "data", GLUE_FILES[f"{name}/{split.name}"])
    *_, places, official = OFFICIAL[file]
    said = [list(official)[i % len(official)] for i in range(ROWS)]
    seen = {}

    def predict(predictor, examples):
        seen.update({name: rows.texts for name, rows in examples.items()})
        return {name: [{"prediction": one} for one in said] for name in examples}

    monkeypatch.setattr(submission, "predict", predict)
    submit([run_of(name)], str(tmp_path / "data"), tmp_path / "out", partial=True, precision="auto")
    lines = "".join(f"{i}\t{official[one]}\n" for i, one in enumerate(said))
    assert members(tmp_path / "out")[file] == "index\tprediction\n" + lines
    assert seen[place.partition("/")[2]] == [tuple(text_of(file, i, key) for key in range(len(places))) for i in range(ROWS)]


@pytest.mark.sweep
def test_real_test_files_make_a_zip_that_needs_no_partial(run_of, tmp_path, shared):
    """CoLA, MRPC and RTE as the benchmark ships them, STS-B's rows as its authors do; predictions of the model itself."""
    runs = [run_of(name) for name in ("cola", "mrpc", "rte", "stsb")]
    made = submit(runs, str(shared), tmp_path / "out", partial=False, precision="auto")
    files = members(tmp_path / "out")
    assert list(files) == ["CoLA.tsv", "MRPC.tsv", "STS-B.tsv", "RTE.tsv"]
    assert {name: text.count("\n") - 1 for name, text in files.items()} == {name: COUNTS[name] for name in files}
    assert check_glue((tmp_path / "out" / "glue.zip").read_bytes(), partial=False) == []
    assert made.files == (tmp_path / "out" / "glue.zip",)
    assert made.notes == (
        "the leaderboard asks for every task; missing: SST-2.tsv, QQP.tsv, MNLI-m.tsv, MNLI-mm.tsv, AX.tsv, QNLI.tsv, WNLI.tsv",
        *(f"{run}: was trained on demo rows" for run in runs),
    )
    predictor = loading.load_predictor(run_of("cola"), None, "auto")
    rows = inference.label(predictor, str(shared / "glue_data" / "CoLA" / "test.tsv"))
    assert files["CoLA.tsv"].splitlines()[1:] == [f"{i}\t{int(row['prediction'] == 'acceptable')}" for i, row in enumerate(rows)]


def test_all_tasks_leave_no_file_missing(run_of, tmp_path):
    for file in OFFICIAL:
        write_test_file(tmp_path / "data", file)
    runs = [run_of(name) for name in dict.fromkeys(place.partition("/")[0] for place in reversed(GLUE_FILES))]
    made = submit(runs, str(tmp_path / "data"), tmp_path / "out", partial=True, precision="auto")
    assert list(members(tmp_path / "out")) == list(GLUE_FILES.values())
    assert not any("missing" in note for note in made.notes)


@pytest.mark.parametrize("column", ["index", "idx", "id"])
def test_rows_out_of_order_are_written_under_their_own_numbers(run_of, tmp_path, monkeypatch, column):
    """The numbers may be text, integers, or floats as pandas writes them."""
    numbers = [3, 0, "4", 2.0, "1.0"]
    lines = [{column: number, "sentence": f"sentence {int(float(number))}"} for number in numbers]
    (tmp_path / "data" / "cola").mkdir(parents=True)
    (tmp_path / "data" / "cola" / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def acceptable_if_odd(predictor, examples):
        (rows,) = examples.values()
        return {"test": [{"prediction": TASKS["cola"].labels[int(text.split()[-1]) % 2]} for (text,) in rows.texts]}

    monkeypatch.setattr(submission, "predict", acceptable_if_odd)
    submit([run_of("cola")], str(tmp_path / "data"), tmp_path / "out", partial=True, precision="auto")
    assert members(tmp_path / "out")["CoLA.tsv"] == "index\tprediction\n0\t0\n1\t1\n2\t0\n3\t1\n4\t0\n"


BAD_NUMBERS = {
    "own ids": (["a", "b", "c"], "2: id: expected each of 0 to 2 once, the benchmark's numbers of its rows, got 'a'; without"),
    "from 1": (["1", "2", "3"], "4: id: expected each of 0 to 2 once, the benchmark's numbers of its rows, got '3'; without"),
    "a part": (["0", "5", "9"], "3: id: expected each of 0 to 2 once, the benchmark's numbers of its rows, got '5'; without"),
    "twice": (["0", "1", "1"], "4: id: expected each id once, got '1' again, first in line 3"),
}


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_rows_whose_place_in_the_benchmark_is_not_known_are_refused(run_of, tmp_path, name):
    ids, message = BAD_NUMBERS[name]
    write_tsv(tmp_path / "cola" / "test.tsv", ["id", "sentence"], [(one, "text") for one in ids])
    with pytest.raises(InputError) as refused:
        submit([run_of("cola")], str(tmp_path), tmp_path / "out", partial=True, precision="auto")
    assert str(refused.value).startswith(f"{tmp_path}/cola/test.tsv:{message}")


def test_other_number_of_rows_is_refused_before_a_model_is_loaded(run_of, tmp_path, monkeypatch):
    for file in ("CoLA.tsv", "RTE.tsv"):
        write_test_file(tmp_path / "data", file)
    runs = [run_of("cola"), run_of("rte")]
    monkeypatch.setattr(submission, "load_predictor", None)
    with pytest.raises(InputError) as refused:
        submit(runs, str(tmp_path / "data"), tmp_path / "out", partial=False, precision="auto")
    assert refused.value.problems == tuple(
        f"{tmp_path}/data/{task}/test.tsv: expected the benchmark's {count} test rows, got 5; "
        "give other --data, or --partial to write the files all the same"
        for task, count in (("CoLA", "1,063"), ("RTE", "3,000"))
    )
    assert not (tmp_path / "out").exists()


def test_demo_rows_are_refused_and_named_where_they_are_written(run_of, tmp_path):
    problem = "demo/rte/test: expected the benchmark's 3,000 test rows, got 600 demo rows"
    with pytest.raises(InputError, match=f"^{problem}; give other --data, or --partial"):
        submit([run_of("rte")], None, tmp_path / "out", partial=False, precision="auto")
    made = submit([run_of("rte")], None, tmp_path / "out", partial=True, precision="auto")
    assert made.notes[0] == f"{problem}; this is no submission"


def test_demo_rows_are_no_submission_even_where_their_number_is_right(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr("debft.data.sources.demo.pairs.DEV_ROWS", 146)
    with pytest.raises(InputError, match="expected the benchmark's 146 test rows, got 146 demo rows"):
        submit([run_of("wnli")], "demo", tmp_path / "out", partial=False, precision="auto")


def test_labels_count_as_the_benchmark_counts_them_whatever_the_order_of_the_model(tmp_path):
    """A model whose config.json has the labels the other way round; one that knows the demo rows, so that both are said."""
    base = write_hub_run(tmp_path, "cola", {"train.max_steps": 60})
    config = json.loads((base / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "unacceptable", "1": "acceptable"}
    before = sentences(submit_cola(base, tmp_path / "before"))
    assert set(before) == {"0", "1"}
    config |= {"id2label": {"0": "acceptable", "1": "unacceptable"}, "label2id": {"acceptable": 0, "unacceptable": 1}}
    run = RunDirectory(base)
    result = run.result()
    (base / "model" / "config.json").write_text(json.dumps(config))
    result = replace(result, model_files=files_of(run.model))  # as the run would have written it
    (base / "result.json").write_text(result.to_json())
    turned = sentences(submit_cola(base, tmp_path / "turned"))
    assert turned == [{"0": "1", "1": "0"}[said] for said in before]  # the same outputs under the other names


def write_hub_run(root, task, overrides):
    overrides = {"task": task, "train.max_train_samples": 2000, "train.max_eval_samples": 4, **overrides}
    finetune(load_recipe(recipe_path("demo"), overrides), root / "run")
    return root / "run"


def submit_cola(run, output):
    submit([str(run)], "demo", output, partial=True, precision="auto")
    return members(output)["CoLA.tsv"]


def sentences(text: str) -> list[str]:
    return [line.split("\t")[1] for line in text.splitlines()[1:]]


WNLI = "index\tprediction\n" + "".join(f"{i}\t{i % 2}\n" for i in range(146))
STSB = "index\tprediction\n" + "".join(f"{i}\t{i % 6}.000\n" for i in range(1_379))
RTE = "index\tprediction\n" + "".join(f"{i}\tentailment\n" for i in range(3_000))


def zipped(*files: tuple[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files:
            archive.writestr(name, text)
    return buffer.getvalue()


def test_good_files_have_nothing_wrong():
    assert check_glue(zipped(("WNLI.tsv", WNLI), ("STS-B.tsv", STSB), ("RTE.tsv", RTE)), partial=False) == []
    assert check_glue(zipped(("WNLI.tsv", WNLI.removesuffix("\n"))), partial=False) == []


BROKEN = {
    "wrong name": ("wnli.tsv", WNLI, "expected CoLA.tsv, SST-2.tsv"),
    "folder in the zip": ("glue/WNLI.tsv", WNLI, "expected CoLA.tsv, SST-2.tsv"),
    "file of the system": ("__MACOSX/._WNLI.tsv", WNLI, "at the top of the archive"),
    "wrong header": ("WNLI.tsv", WNLI.replace("index", "id"), r"expected the header 'index\tprediction', got 'id\tprediction'"),
    "no header": ("WNLI.tsv", WNLI.split("\n", 1)[1], r"expected the header 'index\tprediction', got '0\t0'"),
    "byte order mark": ("WNLI.tsv", "\ufeff" + WNLI, "expected the header"),
    "empty": ("WNLI.tsv", "", r"expected the header 'index\tprediction', got ''"),
    "header alone": ("WNLI.tsv", "index\tprediction\n", "expected the benchmark's 146 rows, got 0"),
    "missing row": ("WNLI.tsv", WNLI.replace("7\t1\n", "", 1), r"line 9: expected index 7 and a tab, got '8\t0'"),
    "missing last row": ("WNLI.tsv", WNLI.replace("145\t1\n", ""), "expected the benchmark's 146 rows, got 145"),
    "row too many": ("WNLI.tsv", WNLI + "146\t0\n", "expected the benchmark's 146 rows, got 147"),
    "empty line at the end": ("WNLI.tsv", WNLI + "\n", "line 148: expected index 146 and a tab, got ''"),
    "out of order": ("WNLI.tsv", WNLI.replace("2\t0\n3\t1\n", "3\t1\n2\t0\n", 1), "line 4: expected index 2"),
    "counted from 1": ("RTE.tsv", RTE.replace("0\tentailment\n", "", 1), "line 2: expected index 0"),
    "commas": ("WNLI.tsv", WNLI.replace("4\t0", "4,0", 1), "line 6: expected index 4 and a tab, got '4,0'"),
    "windows line ends": ("WNLI.tsv", WNLI.replace("\n", "\r\n"), "expected the header"),
    "name for a number": ("WNLI.tsv", WNLI.replace("4\t0", "4\tentailment", 1), "line 6: expected 0, 1, got 'entailment'"),
    "number for a name": (
        "RTE.tsv",
        RTE.replace("4\tentailment", "4\t0", 1),
        "line 6: expected entailment, not_entailment, got '0'",
    ),
    "unknown label": ("RTE.tsv", RTE.replace("4\tentailment", "4\tneutral", 1), "line 6: expected entailment, not_entailment"),
    "capital": ("RTE.tsv", RTE.replace("4\tentailment", "4\tEntailment", 1), "got 'Entailment'"),
    "number of no label": ("WNLI.tsv", WNLI.replace("4\t0", "4\t2", 1), "line 6: expected 0, 1, got '2'"),
    "hidden label": ("WNLI.tsv", WNLI.replace("4\t0", "4\t-1", 1), "line 6: expected 0, 1, got '-1'"),
    "no prediction": ("WNLI.tsv", WNLI.replace("4\t0", "4\t", 1), "line 6: expected 0, 1, got ''"),
    "score too high": ("STS-B.tsv", STSB.replace("4\t4.000", "4\t5.001", 1), "line 6: expected a number from 0 to 5, got '5.001'"),
    "score below 0": ("STS-B.tsv", STSB.replace("4\t4.000", "4\t-0.1", 1), "line 6: expected a number from 0 to 5, got '-0.1'"),
    "score that is none": ("STS-B.tsv", STSB.replace("4\t4.000", "4\tnan", 1), "line 6: expected a number from 0 to 5, got 'nan'"),
    "word for a score": ("STS-B.tsv", STSB.replace("4\t4.000", "4\tfour", 1), "line 6: expected a number from 0 to 5, got 'four'"),
    "other bytes": ("WNLI.tsv", b"\xff" + WNLI.encode(), "expected the header"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_named(name):
    file, text, message = BROKEN[name]
    (problem,) = check_glue(zipped((file, text)), partial=False)
    assert problem.startswith(f"glue.zip: {file}: ") and message in problem


def test_file_that_is_there_twice_is_named():
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped(("WNLI.tsv", WNLI), ("WNLI.tsv", WNLI))
    assert check_glue(content, partial=False) == ["glue.zip: WNLI.tsv: expected each file once"]


def test_partial_leaves_the_count_alone_and_nothing_else():
    few = "index\tprediction\n0\t1\n1\t0\n"
    assert check_glue(zipped(("WNLI.tsv", few)), partial=True) == []
    assert len(check_glue(zipped(("WNLI.tsv", few.replace("1\t0", "2\t0"))), partial=True)) == 1


@pytest.fixture(scope="module", params=["squad2", pytest.param("squad", marks=pytest.mark.sweep)])
def answered(request, tmp_path_factory):
    """A short SQuAD run on rows of its own, and the references of its dev questions."""
    task, root = TASKS[request.param], tmp_path_factory.mktemp(request.param)
    for split, count in ((task.train, 300), (task.evals[0], 60)):
        columns = {name: column[:count] for name, column in demo.table(task, split).columns.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (root / "data" / task.name).mkdir(parents=True, exist_ok=True)
        (root / "data" / task.name / f"{split.name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = {"train.max_steps": 30, "data": str(root / "data")}
    result = finetune(load_recipe(recipe_path(f"{task.name}/demo"), overrides), root / "run")
    return result, str(root / "run"), {row["id"]: row["answers"]["text"] for row in rows}


def test_squad_files_give_the_scores_of_the_run(answered, tmp_path):
    result, run, references = answered
    made = submit([run], None, tmp_path / "out", partial=True, precision="auto")
    wanted = ["predictions.json", "na_prob.json"] if result.task == "squad2" else ["predictions.json"]
    assert (
        [path.name for path in made.files] == wanted == sorted((path.name for path in (tmp_path / "out").iterdir()), reverse=True)
    )
    predictions, *na_prob = (json.loads(path.read_text()) for path in made.files)
    for name, score in squad.scores(predictions, references).items():
        assert score == pytest.approx(result.scores[f"validation/{name}"], abs=1e-9)
    assert list(predictions) == list(references)
    assert all(list(content) == list(references) and all(0 <= p <= 1 for p in content.values()) for content in na_prob)
    scores = f"f1 {result.scores['validation/f1']:.2f}, exact_match {result.scores['validation/exact_match']:.2f}"
    rows = result.recipe["data"] + f"/{result.task}/validation.jsonl"
    count = "11,873" if result.task == "squad2" else "10,570"
    assert made.notes == (
        f"{rows}: expected the benchmark's {count} validation rows, got 60; this is no submission",
        f"60 questions of {rows}: {scores}",
    )


def test_squad_rows_that_are_not_the_benchmarks_are_refused(answered, tmp_path):
    with pytest.raises(InputError, match=r"expected the benchmark's 1\d,\d{3} validation rows, got 60; give other --data, or"):
        submit([answered[1]], None, tmp_path / "out", partial=False, precision="auto")
    with pytest.raises(InputError, match=r"validation: expected the benchmark's 1\d,\d{3} validation rows, got 600 demo rows"):
        submit([answered[1]], "demo", tmp_path / "out", partial=False, precision="auto")
    assert not (tmp_path / "out").exists()


def test_squad_and_glue_are_not_submitted_together(answered, run_of, tmp_path):
    with pytest.raises(InputError, match=r"expected GLUE runs or one SQuAD run, got rte, squad2?; submit them apart"):
        submit([run_of("rte"), answered[1]], None, tmp_path / "out", partial=True, precision="auto")


IDS = ["a", "b", "c"]
SAID, NO_ANSWER = {"a": "x", "b": "", "c": "é"}, {"a": 0.0, "b": 1.0, "c": 0.5}
BROKEN_ANSWERS = {
    "missing question": ({"a": "x", "b": ""}, NO_ANSWER, "predictions.json: expected the 3 questions, 1 are missing, c first"),
    "unknown question": (SAID | {"d": "y"}, NO_ANSWER, "predictions.json: expected the 3 questions, d is none of them"),
    "missing probability": (SAID, {"a": 0.0}, "na_prob.json: expected the 3 questions, 2 are missing, b first"),
    "no text": (SAID | {"b": None}, NO_ANSWER, "predictions.json: b: expected text, got None"),
    "above 1": (SAID, NO_ANSWER | {"b": 1.5}, "na_prob.json: b: expected 0 to 1, got 1.5"),
    "not a number": (SAID, NO_ANSWER | {"b": float("nan")}, "na_prob.json: b: expected 0 to 1, got nan"),
    "text": (SAID, NO_ANSWER | {"b": "0.5"}, "na_prob.json: b: expected 0 to 1, got '0.5'"),
}


@pytest.mark.parametrize("name", BROKEN_ANSWERS)
def test_broken_rule_of_squad_is_named(name):
    predictions, na_prob, message = BROKEN_ANSWERS[name]
    assert check_squad(predictions, na_prob, IDS) == [message]


def test_good_squad_files_have_nothing_wrong():
    assert check_squad(SAID, NO_ANSWER, IDS) == check_squad(SAID, None, IDS) == []


def test_predictions_of_a_real_system_follow_the_rules(shared):
    official = json.loads((shared / "squad2" / "official-dev" / "dev-v2.0.json").read_text())
    ids = [qa["id"] for article in official["data"] for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    predictions = json.loads((shared / "squad2" / "official-dev" / "predictions-bert.json").read_text())
    assert len(ids) == TASKS["squad2"].evals[0].num_rows and check_squad(predictions, None, ids) == []


def debft(monkeypatch, capsys, *arguments):
    """(exit code, stdout, lines of stderr) of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["debft", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return end.value.code, out, err.splitlines()


def test_command_prints_the_files_alone_on_stdout(run_of, tmp_path, monkeypatch, capsys):
    data, out, run = write_test_file(tmp_path / "data", "CoLA.tsv"), tmp_path / "out", run_of("cola")
    capsys.readouterr()
    code, stdout, stderr = debft(monkeypatch, capsys, "submit", run, "--data", data, "--output", out, "--partial")
    assert (code, stdout) == (0, f"{out / 'glue.zip'}\n")
    assert stderr == [
        f"{data}/CoLA/test.tsv: expected the benchmark's 1,063 test rows, got 5; this is no submission",
        "the leaderboard asks for every task; missing: SST-2.tsv, MRPC.tsv, STS-B.tsv, QQP.tsv, MNLI-m.tsv, MNLI-mm.tsv, AX.tsv, "
        "QNLI.tsv, RTE.tsv, WNLI.tsv",
        f"{run}: was trained on demo rows",
    ]
    code, stdout, stderr = debft(monkeypatch, capsys, "submit", run, "--data", data, "--output", out, "--partial")
    assert (code, stdout) == (2, "")
    assert stderr == [f"--output {out}: expected an empty directory or none; choose another --output"]


def test_command_is_refused_with_one_line(run_of, tmp_path, monkeypatch, capsys):
    xnli = tmp_path / "xnli"
    (xnli / "model").mkdir(parents=True)
    (xnli / "recipe.yaml").write_text("task: xnli\nmodel: demo\n")
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.yaml").write_text("task: rte\nmodel: demo\n")
    rte, data = run_of("rte"), write_test_file(tmp_path / "data", "CoLA.tsv")
    capsys.readouterr()
    twice = [rte, rte]
    mistakes = {
        "expected one run per task, got 2 of rte": twice,
        "nowhere: expected a run directory, found no recipe.yaml in it": ["nowhere"],
        "begun: expected a complete run with a model/, found none; finish it with --resume": [begun],
        f"--data {data}: expected rte/test.tsv (or .csv, .jsonl, .json, .parquet) or RTE/test.tsv, found none": [
            rte,
            "--data",
            data,
        ],
        "found no such directory": [rte, "--data", tmp_path / "nowhere"],
        "expected an empty directory or none": [rte, "--output", begun / "recipe.yaml"],
        "expected the benchmark's 3,000 test rows, got 600 demo rows": [rte],
    }
    for message, arguments in mistakes.items():
        code, stdout, stderr = debft(monkeypatch, capsys, "submit", *arguments)
        assert (code, stdout, len(stderr)) == (2, "", 1), stderr
        assert message in stderr[0]
    (xnli / "model" / "config.json").write_text("{}")
    code, _, stderr = debft(monkeypatch, capsys, "submit", xnli)
    assert (code, stderr) == (2, [f"{xnli}: expected a GLUE or SQuAD run, xnli has no leaderboard"])


def test_dry_run_encodes_the_rows_and_writes_nothing(run_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(submission, "load_predictor", None)
    made = submit([run_of("cola")], "demo", tmp_path / "out", partial=True, precision="auto", dry_run=True)
    assert made.files == () and not (tmp_path / "out").exists()
    assert made.notes[-1] == f"no model ran, {tmp_path / 'out' / 'glue.zip'} was not written (--dry-run)"
    assert "median" in capsys.readouterr().err
