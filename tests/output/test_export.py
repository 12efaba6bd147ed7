"""What lies beside an exported model reads texts as debft does, and nothing is written that answers otherwise.

The exporter takes many seconds, so here a session stands in for onnxruntime; test_exported_models.py has the real ones.
"""

import ast
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from conftest import random_texts, write_mnli, write_model_config

from debft.cli.export import export
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import QuestionConfig, Recipe, with_values
from debft.data.examples import Examples
from debft.data.load import encode_split
from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.models.files import find_model
from debft.models.tokens.tokenizer import build_tokenizer
from debft.output.onnx import export as exporting
from debft.output.onnx import gate
from debft.output.onnx.example import config_of, example_of, write_beside
from debft.output.onnx.gate import Answers, agreement, load_example, logits_in_batches, steady_head
from debft.output.onnx.place import place_of
from debft.runtime import extras
from debft.scoring.heads import LabelHead, MultiLabelHead, ScoreHead, SpanHead
from debft.scoring.inference import evaluate
from debft.scoring.loading import load_predictor
from debft.scoring.used_model import find_used_model
from debft.tasks import TASKS, TEXT
from debft.training.run import finetune

BY_NAME = {one.name: one for one in ARCHITECTURES}
ODD = [
    "ＤｅＢＥＲＴａ ﬁne",
    "e\u0301 café",
    "他说，妈妈，我回来了。",
    "ก็ นี้",
    "👍🏽 a[SEP]b <s> [CLS]",
    "½ ™  The  Cat's",
    "",
    "  ",
    "한국어 각 각 1990,",
]
ONE = replace(TEXT, text_keys=("text",), labels=("a", "b"))
CUTS = {
    "longest_first": {},
    "random_ends": {"text.truncation": "random_ends", "train.seed": 7},
    "windows": {"text.long_texts": "windows", "text.window_stride": 4},
    "highest": {"text.long_texts": "windows", "text.pooling": "max"},
}


class Session:
    """Stands for onnxruntime's session: it keeps what it is given, and `compute` makes outputs of it."""

    names = ("input_ids", "attention_mask", "token_type_ids")
    compute = staticmethod(lambda feeds: [np.stack([feeds["input_ids"].sum(axis=1), feeds["attention_mask"].sum(axis=1)], axis=1)])

    def __init__(self, path):
        self.seen = []

    def get_inputs(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def run(self, outputs, feeds):
        self.seen += [
            (ids[mask == 1].tolist(), kinds[mask == 1].tolist())
            for ids, mask, kinds in zip(feeds["input_ids"], feeds["attention_mask"], feeds["token_type_ids"], strict=True)
        ]
        return self.compute(feeds)


@pytest.fixture
def session(monkeypatch):
    """onnxruntime with a session of the test's own."""
    kind = type("InferenceSession", (Session,), {})
    monkeypatch.setattr("onnxruntime.InferenceSession", kind)
    return kind


def loaded_of(name, directory, task, head):
    """The parts of a loaded model that its texts go through."""
    files = find_model(str(BY_NAME[name].write(directory / "model")), from_scratch=True)
    tokenizer = build_tokenizer(files, task)
    return SimpleNamespace(
        task=task, head=head, tokenizer=tokenizer, collate=SimpleNamespace(left=tokenizer.padding_side == "left")
    )


def examples_of(texts):
    count = len(texts)
    labels = np.zeros(count, dtype=np.int64)
    return Examples(texts=texts, labels=labels, ids=list(map(str, range(count))), empty_texts=0, source="rows")


def rows_of(number):
    """Texts of all lengths, or pairs of them."""
    texts = [*ODD, *random_texts(40), " ".join(random_texts(30, 1)), "word" * 60]
    return [(text,) for text in texts] if number == 1 else list(zip(texts, reversed(texts), strict=True))


def sequences(split):
    return [(ids.tolist(), kinds.tolist()) for ids, kinds in map(split.example, range(len(split)))]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", ["deberta-v3", pytest.param("xlnet", marks=pytest.mark.sweep), "roberta"])
def test_example_gives_the_model_the_tokens_that_debft_does(session, tmp_path, name, number, cut):
    task = ONE if number == 1 else TASKS["qnli"]
    recipe = with_values(Recipe(), {"text.max_seq_length": 24, "text.swap_texts": number == 2, **CUTS[cut]})
    loaded, rows = loaded_of(name, tmp_path, task, LabelHead(task=task, labels=task.labels)), rows_of(number)
    write_beside(tmp_path, loaded, recipe)
    scope = load_example(tmp_path / "predict.py")
    logits_NC = logits_in_batches(scope, [list(row) for row in rows])
    split = encode_split(task, examples_of(rows), loaded.tokenizer, recipe, what="rows", cached=False, show=False)
    assert sorted(scope["session"].seen) == sorted(sequences(split))
    lengths_SC = np.array([[0, len(ids)] for ids, _ in sequences(split)], dtype=np.float64)
    assert logits_NC[:, 1] == pytest.approx(split.pooled(lengths_SC)[:, 1])  # each row has its own outputs, pooled as in the run


@pytest.mark.sweep
@pytest.mark.parametrize(
    "data", ["mnli/validation_matched.tsv", *(f"xnli/validation.{one}.tsv" for one in ("zh", "th", "ar", "hi"))]
)
def test_example_gives_the_model_the_tokens_of_every_real_row(session, shared, tmp_path, demo_model, data):
    """The vocabulary of the published DeBERTa-v3, whose tokenizer transformers builds otherwise."""
    model = write_model_config(tmp_path / "model", demo_model, vocab_size=128100)
    (model / "spm.model").write_bytes((shared / "tokenizer" / "deberta-v3" / "spm.model").read_bytes())
    task, recipe = TASKS["mnli"], with_values(Recipe(), {"text.max_seq_length": 48})
    columns = read_table(shared / data).columns
    rows = list(zip(columns["premise"], columns["hypothesis"], strict=True))
    tokenizer = build_tokenizer(find_model(str(model), from_scratch=True), task)
    loaded = SimpleNamespace(task=task, head=LabelHead(task=task, labels=task.labels), tokenizer=tokenizer)
    loaded.collate = SimpleNamespace(left=False)
    write_beside(tmp_path, loaded, recipe)
    scope = load_example(tmp_path / "predict.py")
    logits_in_batches(scope, [list(row) for row in rows])
    split = encode_split(task, examples_of(rows), tokenizer, recipe, what="rows", cached=False, show=False)
    assert sorted(scope["session"].seen) == sorted(sequences(split))


@pytest.mark.parametrize("name", ["deberta-v3", "xlnet"])
def test_example_cuts_contexts_into_the_windows_of_debft(session, tmp_path, name):
    task = TASKS["squad2"]
    recipe = replace(
        with_values(Recipe(), {"text.max_seq_length": 24}), questions=QuestionConfig(doc_stride=3, max_question_length=5)
    )
    loaded = loaded_of(name, tmp_path, task, SpanHead(task=task, config=recipe.questions, threshold=0.5))
    rows = [(question, f"{context} word") for question, context in rows_of(2)]
    write_beside(tmp_path, loaded, recipe)
    session.compute = staticmethod(lambda feeds: [feeds["input_ids"] * 0.5, feeds["input_ids"] * 0.25])
    scope = load_example(tmp_path / "predict.py")
    for question, context in rows:
        scope["answer"](question, context)
    split = encode_split(
        task, replace(examples_of(rows), labels=[()] * len(rows)), loaded.tokenizer, recipe, what="rows", cached=False, show=False
    )
    assert scope["session"].seen == sequences(split)


@pytest.mark.parametrize("task", ["squad", "squad2"])
def test_example_gives_no_answer_where_the_tokenizer_makes_nothing_of_a_context(session, tmp_path, task):
    head = SpanHead(task=TASKS[task], config=QuestionConfig(), threshold=0.5)
    write_beside(tmp_path, loaded_of("deberta-v3", tmp_path, TASKS[task], head), Recipe())
    session.compute = staticmethod(lambda feeds: [feeds["input_ids"] * 0.5, feeds["input_ids"] * 0.25])
    row = load_example(tmp_path / "predict.py")["answer"]("a question", "\x01\x02")
    assert (row["prediction"], row["start"], row["end"]) == ("", None, None)
    assert np.isfinite([row["score"], row["no_answer_score"]]).all()


def kinds_of_examples():
    """(config, whether the padding is in front) of every kind of predict.py."""
    for task in (ONE, TASKS["qnli"], TASKS["squad"], TASKS["squad2"]):
        heads = [SpanHead(task=task, config=QuestionConfig(), threshold=0.0)]
        if task in (ONE, TASKS["qnli"]):
            labels = {"task": task, "labels": ("a", "b")}
            heads = [LabelHead(**labels), MultiLabelHead(**labels, thresholds=(0.5, 0.5)), ScoreHead(task=task, name="score")]
        for head in heads:
            for changes in CUTS.values():
                tokenizer = SimpleNamespace(padding_side="right", pad_token_id=0, pad_token="[PAD]", cls_token_id=1)
                loaded = SimpleNamespace(task=task, head=head, tokenizer=tokenizer)
                for left in (False, True):
                    yield config_of(loaded, with_values(Recipe(), changes)), left


def test_every_example_is_clean_python_and_the_plain_one_has_twenty_lines(tmp_path):
    texts = [example_of(config, left=left) for config, left in kinds_of_examples()]
    for number, text in enumerate(dict.fromkeys(texts)):
        (tmp_path / f"example_{number}.py").write_text(text)
    settings = ["--config", str(Path(__file__).parents[2] / "pyproject.toml")]
    for check in (["check"], ["format", "--diff"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *check, *settings, tmp_path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    body = ast.parse(texts[0]).body[1:]  # without the docstring
    code = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    lines = {line for node in code for line in range(node.lineno, node.end_lineno + 1) if texts[0].splitlines()[line - 1].strip()}
    docstrings = sum(isinstance(node, ast.FunctionDef) for node in code)
    assert len(lines) - docstrings <= 20


@pytest.mark.parametrize("columns", [['x"""\nraise SystemExit("run")\n"""'], ["a\\", 'b"$(id)`'], ["Überschrift nr. 2"]])
def test_name_of_a_column_is_no_code_of_the_example(session, tmp_path, columns):
    task = replace(ONE, text_keys=tuple(columns))
    write_beside(tmp_path, loaded_of("deberta-v3", tmp_path, task, LabelHead(task=task, labels=task.labels)), Recipe())
    scope = load_example(tmp_path / "predict.py")
    words = {1: '"a text"', 2: '"a text" "its text"'}[len(columns)] if '"' in "".join(columns) else '"a Überschrift nr. 2"'
    assert scope["__doc__"].splitlines()[0] == f"A model of your own texts, without torch: python predict.py {words}"


@pytest.mark.parametrize(("name", "number", "wrong"), [("qnli", 2, ["one"]), ("squad2", 2, []), ("text", 1, ["one", "two"])])
def test_example_with_another_number_of_texts_says_how_it_is_called(monkeypatch, session, tmp_path, name, number, wrong):
    task = ONE if number == 1 else TASKS[name]
    head = (
        SpanHead(task=task, config=QuestionConfig(), threshold=0.5) if name == "squad2" else LabelHead(task=task, labels=("a", "b"))
    )
    write_beside(tmp_path, loaded_of("deberta-v3", tmp_path, task, head), Recipe())
    monkeypatch.setattr(sys, "argv", ["predict.py", *wrong])
    with pytest.raises(SystemExit, match=r"python predict\.py \"a "):
        runpy.run_path(str(tmp_path / "predict.py"), run_name="__main__")


def answers(given, numbers):
    return {"validation": Answers(given=given, numbers_NK=np.array(numbers), scores={})}


LABELS = LabelHead(task=ONE, labels=("a", "b"))


@pytest.mark.parametrize(
    ("head", "ours", "theirs", "flips", "wrong"),
    [
        (LABELS, (["a", "b"], [[0.9, 0.1], [0.2, 0.8]]), (["a", "b"], [[0.9001, 0.0999], [0.2, 0.8]]), 0, None),
        (LABELS, (["a", "b"], [[0.9, 0.1], [0.5001, 0.4999]]), (["a", "a"], [[0.9, 0.1], [0.4999, 0.5001]]), 1, "rows: 1"),
        (LABELS, (["a", "b"], [[0.9, 0.1], [0.2, 0.8]]), (["a", "b"], [[0.7, 0.3], [0.2, 0.8]]), 0, "rows: 0"),
        (LABELS, (["a"], [[0.9, 0.1]]), (["a"], [[np.nan, 0.1]]), 0, "rows: 0"),
        (ScoreHead(task=ONE, name="score"), ([1.0, 50.0], [[1.0], [50.0]]), ([1.0004, 50.02], [[1.0004], [50.02]]), 0, None),
        (ScoreHead(task=ONE, name="score"), ([1.0, 50.0], [[1.0], [50.0]]), ([1.004, 50.0], [[1.004], [50.0]]), 0, "rows: 0"),
    ],
    ids=["the same", "another label", "the same label but another model", "no number", "scores beside their size", "another score"],
)
def test_agreement_takes_the_same_answers_by_nearly_the_same_numbers(head, ours, theirs, flips, wrong):
    agreed = agreement(head, answers(*ours), answers(*theirs), {"validation": examples_of([("x",)] * 2)})
    assert (agreed.rows, agreed.flips, agreed.first) == (len(ours[0]), flips, wrong)


def test_threshold_that_is_a_rows_own_score_moves_between_it_and_the_next():
    """The official search takes a row's own score, which another program computes with another last digit."""
    task = TASKS["squad2"]
    head = SpanHead(task=task, config=QuestionConfig(), threshold=1.25)
    near = steady_head(head, answers([""] * 3, [[0, 1.25], [0, 1.2501], [0, -3]]))
    far = steady_head(head, answers([""] * 3, [[0, 1.25], [0, 9], [0, -3]]))
    assert near.threshold == pytest.approx(1.25005)
    assert far.threshold == pytest.approx(1.25 * (1 + gate.TOLERANCE / 2))
    assert steady_head(LABELS, {}) is LABELS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on demo rows."""
    root = tmp_path_factory.mktemp("exported")
    settings = {"task": "mnli", "data": str(write_mnli(root / "data")), "train.max_steps": 3}
    finetune(load_recipe(recipe_path("demo"), settings), root / "run")
    return root / "run"


@pytest.fixture
def stand_in(session, monkeypatch):
    """The file of the model names what torch computes in its place; `spoil` changes that."""
    exported = SimpleNamespace(spoil=lambda logits: logits)

    def write(loaded, file):
        file.write_bytes(b"model")
        session.names = loaded.collate.names

        def compute(feeds):
            with torch.inference_mode():
                logits = loaded.model(**{name: torch.from_numpy(array) for name, array in feeds.items()}).logits.numpy()
            return [exported.spoil(logits)]

        session.compute = staticmethod(compute)

    monkeypatch.setattr(exporting, "write_onnx", write)
    monkeypatch.setattr(exporting, "quantize", lambda fp32, int8, big: int8.write_bytes(b"whole numbers"))
    return exported


def export_json(capsys, *arguments, **options):
    export(*map(str, arguments), onnx=True, as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_export_writes_what_it_has_checked(run, stand_in, tmp_path, capsys):
    content = export_json(capsys, run, output=str(tmp_path / "onnx"))
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [
        "config.json", "export.json", "model.onnx", "predict.py", "tokenizer.json"
    ]  # fmt: skip
    assert content == json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert (content["agreement"]["rows"], content["agreement"]["flips"]) == (40, 0)
    scores = evaluate(load_predictor(str(run), None, "fp32"), None)["scores"]
    assert content["scores"] == scores
    assert str(tmp_path) not in json.dumps(content) and str(run) not in json.dumps(content)


def test_int8_is_scored_and_timed_beside_the_other(run, stand_in, tmp_path, capsys):
    content = export_json(capsys, run, int8=True, output=str(tmp_path / "onnx"))
    assert content["int8"]["loss"] == dict.fromkeys(content["scores"], 0.0)
    assert all(rate > 0 for rate in content["int8"]["rows_per_second"].values())
    assert {"model.onnx", "model.int8.onnx"} <= content["files"].keys()


def test_model_that_is_no_run_is_held_to_the_rows_that_are_named(run, stand_in, tmp_path, capsys):
    rows = run.parent / "data" / "mnli" / "validation_mismatched.tsv"
    content = export_json(capsys, run / "model", data=str(rows), output=str(tmp_path / "onnx"))
    assert (content["rows"], content["model"], content["recipe_hash"]) == ({"validation_mismatched": 20}, "model", None)


def test_nothing_stays_of_a_model_that_answers_otherwise(run, stand_in, tmp_path):
    stand_in.spoil = lambda logits: logits[:, ::-1]
    with pytest.raises(InputError, match=r"to answer all 40 rows as debft does, got \d+ other answers .* nothing was written"):
        export(str(run), onnx=True, output=str(tmp_path / "onnx"))
    assert list(tmp_path.iterdir()) == []


def test_export_lies_in_the_run_and_goes_with_it(run, stand_in, tmp_path, capsys):
    export_json(capsys, run)
    with pytest.raises(InputError, match="holds an export already; --overwrite"):
        export(str(run), onnx=True)
    assert export_json(capsys, run, overwrite=True)["agreement"]["flips"] == 0
    used = find_used_model(str(run), None)
    assert used.run.foreign_files() == []


def test_export_is_refused_before_anything_is_loaded(run, tmp_path, monkeypatch):
    def refusal(*arguments, **options):
        with pytest.raises(InputError) as error:
            export(*map(str, arguments), **options)
        return str(error.value)

    assert "expected a form to write, got none; give --onnx" in refusal(run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "got one with other files" in refusal(run, onnx=True, output=str(tmp_path / "mine"), overwrite=True)
    assert "--output: expected a directory for what is no run" in refusal(run / "model", onnx=True)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_bytes((run / "recipe.yaml").read_bytes())
    assert "expected a complete run" in refusal(tmp_path / "begun", onnx=True)
    monkeypatch.setitem(extras.EXTRAS, "export", ("onnx", "no_such_package"))
    assert "pip install 'debft[export]'" in refusal(run, onnx=True)


def test_place_of_an_export_is_a_new_directory(tmp_path, run):
    used = find_used_model(str(run), None)
    assert place_of(used, str(tmp_path / "new"), overwrite=False) == tmp_path / "new"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="got a file"):
        place_of(used, str(tmp_path / "file"), overwrite=True)
