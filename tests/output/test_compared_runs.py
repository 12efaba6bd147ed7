"""`debft compare` on runs whose predictions differ in a known way: the verdict in words, groups of seeds, rows, what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from debft.cli.runs import compare as command
from debft.config.recipe import Recipe, to_dict, with_train
from debft.errors import InputError
from debft.output.comparison import compare
from debft.output.comparison_lines import printed
from debft.runs.analysis import AnalysedRow, Analysis, SplitAnalysis
from debft.runs.directory import RunDirectory
from debft.runs.result import RowsOfRun, RunResult, Timing

TIMING = Timing(train_seconds=60.0, eval_seconds=1.0, examples_per_second=1.0, tokens_per_second=1.0)


def made(folder, wrong, *, rows=400, task="rte", model="demo", splits=("validation",), fingerprint="1a2b", labels=None, **train):
    """A complete run that is wrong about these rows of each split."""
    run, recipe = RunDirectory(folder), with_train(Recipe(task=task, model=model, data="demo"), **train)
    folder.mkdir(parents=True)
    run.create(recipe)
    label = ("entailment", "not_entailment")
    predictions = [
        {"id": str(i), "label": label[i % 2], "prediction": label[(i + (i in wrong)) % 2], "scores": {}} for i in range(rows)
    ]
    for split in splits:
        run.write_predictions(split, labels or predictions, {})
    score = 100 * (1 - len(wrong) / rows)
    result = RunResult(
        task=task,
        model=model,
        status="complete",
        scores={f"{split}/accuracy": score for split in splits},
        published=[],
        not_compared="demo",
        num_examples=dict.fromkeys(splits, rows),
        num_train_examples=10,
        num_tokens=100,
        steps=5,
        timing=TIMING,
        peak_memory_bytes=1,
        data=RowsOfRun(source="demo", fingerprints={"train": "ffff"} | dict.fromkeys(splits, fingerprint)),
        recipe=to_dict(recipe),
        environment={},
    )
    run.write_result(result)
    return str(folder)


def text_of(comparison, width=80):
    return "\n".join(printed(comparison, width))


def test_better_run_is_named_with_difference_interval_and_p(tmp_path):
    first, second = made(tmp_path / "a", set(range(60))), made(tmp_path / "b", set(range(30)), learning_rate=3e-5)
    text = text_of(compare([first, second]))
    assert "B is better on RTE accuracy: B - A +7.50 points, 95 % +5." in text
    assert "p < 0.001" in text
    assert "    train.learning_rate 3e-05, of A 2e-05" in text
    assert "rows: A better on 0, B better on 30, the same on 370" in text


def test_order_of_the_runs_turns_the_sign(tmp_path):
    first, second = made(tmp_path / "a", set(range(60))), made(tmp_path / "b", set(range(30)), seed=2)
    assert "A is better on RTE accuracy: B - A -7.50 points" in text_of(compare([second, first]))


def test_small_difference_cannot_be_told(tmp_path):
    first, second = made(tmp_path / "a", {1, 2, 3}), made(tmp_path / "b", {3, 4}, seed=2)
    assert "no difference can be told on RTE accuracy: B - A +0.25 points" in text_of(compare([first, second]))


def test_two_seeds_of_one_recipe_are_two_sides(tmp_path):
    sides = compare([made(tmp_path / str(seed), {seed}, seed=seed) for seed in (1, 2)]).sides
    assert [(side.name, side.seeds) for side in sides] == [("A", [1]), ("B", [2])]


def test_seeds_of_each_recipe_are_one_side(tmp_path):
    places = [made(tmp_path / f"a{seed}", set(range(40 + seed)), seed=seed) for seed in (1, 2, 3)]
    places += [made(tmp_path / f"b{seed}", set(range(seed)), seed=seed, learning_rate=3e-5) for seed in (1, 2, 3)]
    comparison = compare(places)
    assert [side.seeds for side in comparison.sides] == [[1, 2, 3], [1, 2, 3]]
    (one,) = comparison.pairs[0].differences
    assert (one.first, one.second) == (pytest.approx(100 * (1 - 42 / 400)), pytest.approx(100 * (1 - 2 / 400)))
    assert one.test == "bootstrap"
    assert "B is better" in comparison.pairs[0].verdicts[0]
    assert "and 2 more seeds" in text_of(comparison)


def test_directory_of_runs_is_taken_apart(tmp_path):
    for seed in (1, 2):
        made(tmp_path / "runs" / f"seed-{seed}", {seed}, seed=seed)
    assert [side.runs for side in compare([str(tmp_path / "runs")]).sides] == [
        [str(tmp_path / "runs" / f"seed-{s}")] for s in (1, 2)
    ]


def test_several_runs_are_compared_with_the_first_and_corrected(tmp_path):
    first = made(tmp_path / "a", set(range(60)))
    others = [made(tmp_path / name, set(range(50 - i)), learning_rate=1e-5 * (5 + i)) for i, name in enumerate("bcd")]
    comparison = compare([first, *others])
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("A", "B"), ("A", "C"), ("A", "D")]
    assert all(one.p_holm > one.p for pair in comparison.pairs[1:] for one in pair.differences)
    assert "corrected for 3 comparisons (Holm)" in " ".join(text_of(comparison).split())


def test_languages_are_compared_by_their_mean(tmp_path):
    splits = ("test.en", "test.fr")
    labels = [
        {"id": str(i), "label": "neutral", "prediction": "neutral" if i % 4 else "entailment", "scores": {}} for i in range(99)
    ]
    better = [row | {"prediction": "neutral"} for row in labels]
    first = made(tmp_path / "a", set(), task="xnli", splits=splits, rows=99, labels=labels)
    second = made(tmp_path / "b", set(), task="xnli", splits=splits, rows=99, labels=better, seed=2)
    (one,) = compare([first, second]).pairs[0].differences
    assert (one.score, one.second) == ("test.avg/accuracy", 100.0)


def test_scores_of_own_texts_are_compared_by_their_correlations(tmp_path):
    rows = [
        [{"id": str(i), "label": i / 10, "prediction": i / 10 + sign * (i % 3), "scores": {}} for i in range(60)] for sign in (1, 0)
    ]
    first = made(tmp_path / "a", set(), task="text", rows=60, labels=rows[0])
    second = made(tmp_path / "b", set(), task="text", rows=60, labels=rows[1], seed=2)
    assert [one.score for one in compare([first, second]).pairs[0].differences] == ["validation/pearson", "validation/spearmanr"]


def test_rows_on_which_runs_differ_are_written_with_the_texts_that_were_kept(tmp_path, capsys):
    first, second = made(tmp_path / "a", {1, 2, 3}), made(tmp_path / "b", {3, 4}, seed=2)
    row = AnalysedRow(id="2", texts={"sentence1": "a fox"}, label="x", prediction="y", loss=1.0, tokens=3, cut=False)
    RunDirectory(tmp_path / "a").write_analysis(Analysis(splits={"validation": SplitAnalysis(rows=400, worst=[row])}))
    command([first, second], rows=str(tmp_path / "rows.jsonl"), as_json=False)
    written = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {(row["id"], row["gain"]) for row in written} == {("1", 1.0), ("2", 1.0), ("4", -1.0)}
    assert written[0] | {"id": "2", "texts": {"sentence1": "a fox"}} == written[0]  # rows with their texts come first
    assert "sentence1: a fox" in capsys.readouterr().out


def test_json_has_the_numbers_and_no_rows(tmp_path, capsys):
    first, second = made(tmp_path / "a", {1, 2, 3}), made(tmp_path / "b", {3, 4}, seed=2)
    command([first, second], rows=None, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["pairs"][0]["differences"][0]["difference"] == 0.25
    assert "rows" not in content["pairs"][0]


def test_lines_fit_80_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, wrong in (("a", range(60)), ("b", range(30))):
        made(tmp_path / name, set(wrong), task="mnli", splits=("validation_matched", "validation_mismatched"), seed=ord(name))
    assert max(map(len, printed(compare(["a", "b"]), 80))) <= 80


def test_runs_on_other_rows_are_refused_with_both_fingerprints(tmp_path):
    places = [made(tmp_path / "a", {1}), made(tmp_path / "b", {1}, fingerprint="3c4d", seed=2)]
    with pytest.raises(InputError, match=r"the same rows, got other fingerprints .*validation 1a2b.*validation 3c4d"):
        compare(places)


def test_advice_on_runs_on_other_rows_leaves_runs_that_can_be_compared(tmp_path):
    """With a third run on the rows of the first, the second can go; of two runs neither can."""
    first, second = made(tmp_path / "a", {1}), made(tmp_path / "b", {1}, fingerprint="3c4d", seed=2)
    with pytest.raises(InputError, match=r"\); train one of them again on the --data of the other"):
        compare([first, second])
    with pytest.raises(InputError, match=r"\); leave out \S+/b$"):
        compare([first, second, made(tmp_path / "c", {2}, seed=3)])


def test_split_that_only_one_run_has_is_left_out_and_said(tmp_path):
    places = [made(tmp_path / "a", {1}, splits=("validation", "test")), made(tmp_path / "b", {2}, seed=2)]
    comparison = compare(places)
    assert comparison.left_out == ["test"]
    assert "not compared, since the rows differ: test" in text_of(comparison)


def test_changed_predictions_are_refused(tmp_path):
    places = [made(tmp_path / "a", {1}), made(tmp_path / "b", {1}, seed=2)]
    path = tmp_path / "b" / "predictions" / "validation.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match="got others though their fingerprints agree"):
        compare(places)


ROW = {"id": "0", "label": "entailment", "prediction": "entailment"}
DAMAGED_ROWS = (
    [ROW, ROW | {"prediction": ["a"]}],
    [ROW | {"label": ["a"]}, ROW],
    [ROW | {"label": 1.0}],
    [ROW | {"label": 1.0, "prediction": True}],
    [ROW | {"label": [1], "prediction": "a"}],
    [ROW | {"label": {"a": 1}}],
    [ROW | {"label": []}],
    [ROW | {"id": None}],
)


@pytest.mark.parametrize(
    "content",
    ["", "not JSON\n", "[1]\n", '{"id": "0"}\n', *("".join(f"{json.dumps(row)}\n" for row in rows) for rows in DAMAGED_ROWS)],
)
def test_damaged_predictions_are_named(tmp_path, content):
    places = [made(tmp_path / "a", {1}), made(tmp_path / "b", {1}, seed=2)]
    for name in "ba":  # where both are damaged in the same way, their rows agree
        (tmp_path / name / "predictions" / "validation.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"[ab]/predictions/validation\.jsonl: expected the predictions of a run"):
        compare(places)


def test_runs_of_two_tasks_and_single_runs_are_refused(tmp_path):
    first, second = made(tmp_path / "a", {1}), made(tmp_path / "b", {1}, task="qnli")
    with pytest.raises(InputError, match="expected runs of one task, got runs of rte, qnli"):
        compare([first, second])
    with pytest.raises(InputError, match="expected at least two different complete runs, found 1"):
        compare([first])


def test_runs_of_a_debft_without_intervals_are_compared(tmp_path):
    first, second = made(tmp_path / "a", set(range(60))), made(tmp_path / "b", set(range(30)), seed=2)
    run = RunDirectory(tmp_path / "b")
    run.write_result(replace(run.result(), intervals={}))
    assert "B is better" in text_of(compare([first, second]))


def test_comparison_does_not_wait_for_torch_nor_for_all_of_scipy():
    """Each takes two seconds to load, in which nothing would be said."""
    code = (
        "import debft.output.comparison, sys; print(sorted({'torch', 'transformers', 'scipy.stats', 'sklearn'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
