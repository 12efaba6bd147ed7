"""The report of a reproduction, as files and in a real browser. Every number of ours in this module is invented."""

import copy
import json
import random
import re
import statistics
import warnings
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder
from json_schemas import wrong
from matplotlib.figure import Figure
from PIL import Image

from debft.config.schema import descriptions, schema
from debft.output.pages.content import page_content
from debft.output.pages.records import Cell, Curve, OtherRun, Report, ReportedRun, ReportedTable
from debft.output.pages.run_figures import _over_seeds, _series_name, curves_figure, speed_figure
from debft.output.pages.score_figures import _distinct, _limit, cells_figure, languages_figure
from debft.output.text import score_text
from debft.reproduce.report import write_report

RULE = (
    "A score is reproduced where the 95 % interval of our mean lies within the tolerance of the printed number, above or below where it "
    "lies wholly outside, and else undecided."
)
SEEDS = (1, 2, 3, 4, 5)
HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> | `a\nb` [x](javascript:alert(1)) **&amp; $\\frac{$ _i_"
# JavaScript of this module: elements that reach over the right edge and lie in no box that scrolls; figure text outside its figure.
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg') && !e.closest('.unseen')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))"""
CUT_OFF = """[...document.querySelectorAll('svg text')].filter(t => {
  const inner = t.getBoundingClientRect(), outer = t.ownerSVGElement.getBoundingClientRect();
  return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
}).map(t => t.textContent)"""


def run(task: str, model: str, seed: int, scores: dict[str, float], **changes: Any) -> ReportedRun:
    """A complete run with a learning curve that falls and a score that rises."""
    rng = random.Random(f"{task} {model} {seed}")
    steps = list(range(92, 18400, 92))
    run_id = f"{task}-{model}/seed-{seed}-ab12cd34"
    off = rng.uniform(-1, 1)
    way = [(step, 1 - 0.5 ** (step / 3000)) for step in range(3000, 18400, 3000)]
    values = {
        "id": run_id,
        "directory": f"runs/{run_id}",
        "rows": [model],
        "task": task,
        "model": model,
        "sift_weight": 0.0,
        "seed": seed,
        "status": "complete",
        "error": None,
        "recipe": f"{task}/{model}",
        "recipe_hash": "0123456789abcdef",
        "dialect": "card",
        "starts_from": None,
        "data": "hub",
        "fingerprints": {"train": "9f2c1e7a", "validation": "77aa01bc"},
        "environment": {"debft": "0.1.0", "torch": "2.13.0", "device": "cuda:0", "precision": "bf16"},
        "command": f"debft {task} --recipe {task}/{model} --seed {seed} --output runs/{run_id}",
        "labels": [],
        "scores": scores,
        "steps": 18408,
        "num_train_examples": 392_702,
        "num_tokens": 15_700_000,
        "train_seconds": 121.4 + rng.uniform(0, 9),
        "eval_seconds": 4.2,
        "examples_per_second": 9480.0 + rng.uniform(-300, 300),
        "tokens_per_second": 379_000.0,
        "peak_memory_bytes": 5 * 2**30,
        "curve": Curve(
            step=steps,
            loss=[0.28 + 0.03 * off + 0.8 * 0.5 ** (step / 1800) + rng.gauss(0, 0.012) for step in steps],
            evaluations=[
                {"step": step, "scores": {name: value * (0.9 + 0.1 * up) + 0.4 * off * (1 - up) for name, value in scores.items()}}
                for step, up in way
            ],
        ),
    }
    return ReportedRun(**values | changes)


def blank(task: str, model: str, seed: int, **changes: Any) -> ReportedRun:
    """A run that measured nothing."""
    unknown = (
        "steps",
        "num_train_examples",
        "num_tokens",
        "train_seconds",
        "eval_seconds",
        "examples_per_second",
        "tokens_per_second",
        "peak_memory_bytes",
        "environment",
    )
    return run(
        task, model, seed, {}, **dict.fromkeys(unknown), curve=Curve(step=[], loss=[], evaluations=[]), fingerprints={}, **changes
    )


def cell(
    row: str, model: str, column: str, header: str, task: str, score: str, printed: str, value: float | None, **changes: Any
) -> Cell:
    """A cell that nothing was run for."""
    values = {
        "row": row,
        "model": model,
        "sift": False,
        "column": column,
        "header": header,
        "task": task,
        "score": score,
        "cell": printed,
        "value": value,
        "spread": None,
        "seeds": None,
        "note": None,
        "source": 'https://example.org/cards, section "Results"',
        "recipe": f"{task}/{model}",
        "recipe_source": "https://example.org/cards",
        "dialect": "card",
        "ours": False,
        "labels": [],
        "n": 0,
        "mean": None,
        "sd": None,
        "low": None,
        "high": None,
        "difference": None,
        "margin": 0.5,
        "tolerance": None,
        "verdict": "not run",
        "verdict_text": "not run",
        "problem": None,
        "runs": [],
    }
    return Cell(**values | changes)


def scored(cell: Cell, runs: list[ReportedRun]) -> Cell:
    """The cell with the mean of these runs, judged by a simple rule of this module."""
    values = [run.scores[cell.score] for run in runs]
    mean, n = statistics.mean(values), len(values)
    sd = statistics.stdev(values) if n > 1 else None
    half = None if sd is None else 2.776 * sd / n**0.5
    difference = mean - cell.value
    far = "above" if difference > 0 else "below"
    verdict = "labelled" if cell.labels else "undecided" if n == 1 else far
    if n > 1 and abs(difference) - half <= 0.35:
        verdict = "reproduced" if abs(difference) + half <= 0.55 else "undecided"
    reasons = {"labelled": ", ".join(cell.labels), "undecided": "about 9 seeds would decide"}
    return replace(
        cell,
        n=n,
        mean=mean,
        sd=sd,
        low=half and mean - half,
        high=half and mean + half,
        difference=difference,
        tolerance=0.55,
        verdict=verdict,
        runs=[run.id for run in runs],
        verdict_text=f"{verdict} ({reasons[verdict]})" if verdict in reasons else verdict,
    )


def mnli_cells(row: str, model: str, printed: str, values: tuple[float, float], **changes: Any) -> list[Cell]:
    scores = ("validation_matched/accuracy", "validation_mismatched/accuracy")
    return [
        cell(row, model, "mnli", "MNLI-m/mm (ACC)", "mnli", s, printed, v, **changes) for s, v in zip(scores, values, strict=True)
    ]


def mnli_runs(model: str, matched: float, mismatched: float, seeds=SEEDS) -> list[ReportedRun]:
    rng = random.Random(model)
    return [
        run(
            "mnli",
            model,
            seed,
            {
                "validation_matched/accuracy": rng.gauss(matched, 0.12),
                "validation_mismatched/accuracy": rng.gauss(mismatched, 0.15),
            },
        )
        for seed in seeds
    ]


def squad_part() -> tuple[list[Cell], list[ReportedRun]]:
    runs = [
        run("squad2", "deberta-v3-xsmall", seed, {"validation/f1": 84.5 + 0.11 * seed, "validation/exact_match": 81.2 + 0.1 * seed})
        for seed in (1, 2, 3)
    ]
    runs.append(
        blank(
            "squad2", "deberta-v3-xsmall", 4, status="failed", error="loss is not finite at step 812: nan; lower the learning rate"
        )
    )
    cells = [
        cell(
            "DeBERTa-v3-xsmall",
            "deberta-v3-xsmall",
            "squad2",
            "SQuAD 2.0 (F1/EM)",
            "squad2",
            f"validation/{metric}",
            "84.8/82.0",
            value,
            ours=True,
        )
        for metric, value in (("f1", 84.8), ("exact_match", 82.0))
    ]
    return [scored(cells[0], runs[:3]), scored(cells[1], runs[:3])], runs


def languages_part() -> tuple[list[Cell], list[ReportedRun]]:
    printed = {
        "avg": 79.8,
        "en": 88.2,
        "fr": 82.6,
        "es": 84.4,
        "de": 82.7,
        "el": 82.3,
        "bg": 82.4,
        "ru": 80.8,
        "tr": 79.5,
        "ar": 78.5,
        "vi": 78.1,
        "th": 76.4,
        "zh": 79.5,
        "hi": 75.9,
        "sw": 73.9,
        "ur": 72.4,
    }
    rng = random.Random(7)
    runs = [
        run(
            "xnli",
            "mdeberta-v3-base",
            seed,
            {f"test.{name}/accuracy": rng.gauss(value - 0.3, 0.3) for name, value in printed.items()},
        )
        for seed in SEEDS
    ]
    cells = [
        cell(
            "mDeBERTa-base",
            "mdeberta-v3-base",
            name,
            name,
            "xnli",
            f"test.{name}/accuracy",
            "79.8+/-0.2" if name == "avg" else f"{value}",
            value,
            spread=0.2 if name == "avg" else None,
            seeds=5 if name == "avg" else None,
        )
        for name, value in printed.items()
    ]
    return [scored(one, runs) for one in cells], runs


def everything() -> Report:
    """A reproduction with every verdict, every status, every figure."""
    xsmall, small, base = (
        mnli_runs("deberta-v3-xsmall", 88.1, 88.6),
        mnli_runs("deberta-v3-small", 88.9, 87.8),
        mnli_runs("deberta-v3-base", 90.7, 90.6, (1,)),
    )
    note = "the DeBERTa paper, A.11, has MNLI 88.2/87.9; see https://example.org/paper.pdf, page 3"
    x, s = (
        mnli_cells("DeBERTa-v3-xsmall", "deberta-v3-xsmall", "88.1/88.3", (88.1, 88.3)),
        mnli_cells("DeBERTa-v3-small", "deberta-v3-small", "88.3/87.7", (88.3, 87.7), note=note),
    )
    b = mnli_cells(
        "DeBERTa-v3-base", "deberta-v3-base", "90.6/90.7", (90.6, 90.7), labels=["subset: train has 1,000 of 392,702 rows"]
    )
    squad_cells, squad_runs = squad_part()
    language_cells, language_runs = languages_part()
    cells = [
        cell(
            "RoBERTa-base",
            "roberta-base",
            "mnli",
            "MNLI-m/mm (ACC)",
            "mnli",
            "validation_matched/accuracy",
            "87.6/-",
            87.6,
            recipe=None,
            recipe_source=None,
        ),
        cell(
            "RoBERTa-base",
            "roberta-base",
            "mnli",
            "MNLI-m/mm (ACC)",
            "mnli",
            "validation_mismatched/accuracy",
            "87.6/-",
            None,
            recipe=None,
            recipe_source=None,
        ),
        *squad_cells,
        scored(x[0], xsmall),
        scored(x[1], xsmall),
        scored(s[0], small),
        scored(s[1], small),
        scored(b[0], base),
        scored(b[1], base),
        *language_cells,
    ]
    waiting = blank("mnli", "deberta-v3-base", 2, status="not run")
    return Report(
        table=ReportedTable(
            name="deberta-v3",
            title="Dev results of the DeBERTa-v3 model cards",
            kind="published",
            source='https://example.org/cards, section "Results"',
            note="cells as printed",
        ),
        command="debft reproduce deberta-v3 --seeds 5",
        made="2026-11-22T05:40:00Z",
        versions={"debft": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        rule=RULE,
        cells=cells,
        runs=[*squad_runs, *xsmall, *small, *base, waiting, *language_runs],
        others=[
            OtherRun(
                id="mnli-deberta-v3-xsmall/seed-1-ab12cd34-00000000",
                directory="runs/other",
                beside=xsmall[0].id,
                status="complete",
                made_by="code 0123456789abcdef, torch 2.12.0 (here 2.13.0)",
            )
        ],
    )


def with_cell(report: Report, number: int, **changes: Any) -> Report:
    cells = [replace(cell, **changes) if at == number else cell for at, cell in enumerate(report.cells)]
    return replace(report, cells=cells)


@pytest.fixture
def reproduction() -> Report:
    return everything()


@pytest.fixture
def nothing_run(reproduction) -> Report:
    blank = {"n": 0, **dict.fromkeys(("mean", "sd", "low", "high", "difference")), "verdict": "not run", "verdict_text": "not run"}
    return replace(reproduction, runs=[], cells=[replace(one, **blank, runs=[]) for one in reproduction.cells])


@pytest.fixture
def measured(reproduction) -> Report:
    source = "debft 0.1.0 on one CPU"
    table = ReportedTable(name="demo", title="Numbers of the demo recipes", kind="measured", source=source, note=None)
    return replace(reproduction, table=table, cells=[replace(one, source=source) for one in reproduction.cells])


def worst() -> Report:
    """The worst text in every place that takes text from outside; every second row is called that."""
    report, directory = everything(), f"javascript:alert(1)/{HOSTILE}"
    names = {run.id: f"{HOSTILE}/seed-{number}" for number, run in enumerate(report.runs)}
    runs = [
        replace(
            one,
            id=names[one.id],
            directory=directory,
            error=HOSTILE,
            command=HOSTILE,
            labels=[HOSTILE],
            environment={"device": HOSTILE},
            fingerprints={HOSTILE: HOSTILE},
        )
        for one in report.runs
    ]
    cells = [
        replace(
            one,
            row=HOSTILE if number % 2 else one.row,
            note=HOSTILE,
            labels=[HOSTILE],
            source=HOSTILE,
            runs=[names[run] for run in one.runs],
        )
        for number, one in enumerate(report.cells)
    ]
    others = [replace(one, id=HOSTILE, directory=directory, made_by=HOSTILE) for one in report.others]
    table = replace(report.table, title=HOSTILE, note=HOSTILE, source=f"https://example.org/{HOSTILE}")
    return replace(
        report, table=table, cells=cells, runs=runs, others=others, rule=HOSTILE, command=HOSTILE, versions={HOSTILE: HOSTILE}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, list[Path]]:
    """The directory of the report, and what `write_report` says that it wrote there; for reading."""
    directory = tmp_path_factory.mktemp("report")
    return directory, write_report(everything(), directory)


@pytest.fixture(scope="module")
def report(written) -> Path:
    return written[0]


@pytest.fixture
def drawn_alone(monkeypatch):
    """`drawn_alone(figure, ...)`: reports have these figures alone; drawing all of them takes seconds."""

    def choose(*figures):
        monkeypatch.setattr("debft.reproduce.report.drawings", lambda reproduction: [figure(reproduction) for figure in figures])

    return choose


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("hostile")
    write_report(worst(), directory)
    return directory


class Page(HTMLParser):
    """Elements with their attributes and text; a closing tag that closes nothing is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.text += " "
        if tag not in ("meta", "link", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if attributes.get(name) is not None]


def page_of(directory: Path) -> Page:
    return Page((directory / "index.html").read_text(encoding="utf-8"))


def markdown_tables(directory: Path) -> list[list[list[str]]]:
    lines = (directory / "report.md").read_text(encoding="utf-8").split("\n")
    groups = [list(inside) for is_table, inside in groupby(lines, lambda line: line.startswith("|")) if is_table]
    return [[[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in group] for group in groups]


def test_report_writes_page_markdown_json_and_every_figure_twice(written):
    directory, paths = written
    figures = [f"figures/{name}.{kind}" for name in ("scores", "languages", "learning-curves", "speed") for kind in ("svg", "png")]
    assert [path.relative_to(directory).as_posix() for path in paths] == ["index.html", "report.md", "report.json", *figures]
    assert sorted(path for path in directory.rglob("*") if path.is_file()) == sorted(paths)


@pytest.mark.sweep
def test_report_of_equal_runs_has_equal_bytes_whatever_the_users_matplotlib_is_set_to(reproduction, report, tmp_path):
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "figure.facecolor": "red"}):
        again = write_report(copy.deepcopy(reproduction), tmp_path / "again")
    for path in again:
        assert path.read_bytes() == (report / path.relative_to(tmp_path / "again")).read_bytes(), path.name


def test_report_without_matplotlib_is_whole_but_for_its_figures(reproduction, report, tmp_path, monkeypatch):
    monkeypatch.setattr("debft.reproduce.report.can_draw", lambda: False)
    assert {path.name for path in write_report(reproduction, tmp_path)} == {"index.html", "report.md", "report.json"}
    assert "<svg" not in (tmp_path / "index.html").read_text() and "figures/" not in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.json").read_bytes() == (report / "report.json").read_bytes()


def test_json_holds_the_reproduction(reproduction, report):
    assert json.loads((report / "report.json").read_text(encoding="utf-8")) == reproduction.as_dict()


KEYS = {
    "report": "format_version table command made versions rule cells runs others",
    "table": "name title source note kind",
    "cell": "row model sift column header task score value cell spread seeds note source recipe recipe_source dialect ours labels n mean sd low "
    "high difference margin tolerance verdict verdict_text problem runs",
    "run": "id directory task model rows sift_weight seed status error recipe recipe_hash dialect starts_from data fingerprints environment "
    "command labels scores steps num_train_examples num_tokens train_seconds eval_seconds examples_per_second tokens_per_second "
    "peak_memory_bytes curve",
    "curve": "step loss evaluations",
    "other": "id directory beside status made_by",
}


def test_json_keeps_its_keys_and_their_order(report):
    """Scripts read them: a change of these is a new format_version."""
    content = json.loads((report / "report.json").read_text(encoding="utf-8"))
    (other,), run = content["others"], content["runs"][0]
    parts = {
        "report": content,
        "table": content["table"],
        "cell": content["cells"][0],
        "run": run,
        "curve": run["curve"],
        "other": other,
    }
    assert {name: " ".join(part) for name, part in parts.items()} == KEYS
    assert content["format_version"] == 2


def test_json_fits_the_committed_schema(report):
    """`python docs/schemas.py` writes it."""
    committed = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    assert committed == schema(Report, closed=False)
    assert wrong(json.loads((report / "report.json").read_text(encoding="utf-8")), committed) == []


def test_schema_describes_every_field_of_the_report():
    assert all(
        set(descriptions(kind)) == {field.name for field in fields(kind)}
        for kind in (Report, ReportedTable, Cell, ReportedRun, Curve)
    )


def test_page_asks_for_nothing_outside_itself(report):
    page = page_of(report)
    text = (report / "index.html").read_text(encoding="utf-8")
    assert not {"script", "img", "iframe", "object", "embed", "image"} & {tag for tag, _ in page.elements}
    assert [attributes["href"] for tag, attributes in page.elements if tag == "link"] == ["data:,"]
    assert page.values("src") == []
    assert all(tag == "a" for tag, attributes in page.elements if (attributes.get("href") or "").startswith("http"))
    assert "@import" not in text
    assert set(re.findall(r"url\(.", text)) <= {"url(#"}


def test_page_links_lead_somewhere_and_ids_are_unique(report):
    page = page_of(report)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inside = [link[1:] for link in [*page.values("href"), *page.values("xlink:href")] if link.startswith("#")]
    inside += re.findall(r"url\(#([^)]+)\)", (report / "index.html").read_text(encoding="utf-8"))
    inside += page.values("aria-labelledby")
    assert set(inside) <= set(ids)
    files = [link for link in page.values("href") if link.startswith(("report.", "figures/"))]
    assert len(files) == 10
    assert all((report / link).is_file() for link in files)


def test_page_has_every_cell_and_every_run(reproduction, report):
    page = page_of(report)
    assert sum(attributes.get("scope") == "row" for _, attributes in page.elements) == len(reproduction.cells) + len(
        reproduction.runs
    )
    for run in reproduction.runs:
        assert run.id in page.text
        assert run.command in page.text
        assert f"run-{run.id.replace('/', '-')}" in page.values("id")
        assert page.values("href").count(run.directory) == 2
    assert "loss is not finite at step 812: nan; lower the learning rate" in page.text
    assert "9f2c1e7a" in page.text


def test_page_counts_verdicts_in_words(reproduction, report):
    text = " ".join(page_of(report).text.split())
    verdicts = [cell.verdict for cell in reproduction.cells if cell.value is not None]
    counts = {name: verdicts.count(name) for name in ("reproduced", "above", "below", "undecided", "labelled", "not run")}
    assert all(counts.values())
    others = ", ".join(f"{counts[name]} {name}" for name in ("above", "below", "undecided", "labelled", "not run"))
    assert f"{counts['reproduced']} of {len(verdicts)} scores reproduced, {others}; 1 run failed." in text
    assert f"{counts['reproduced']} ✓ scores reproduced" in text
    assert "1 ✗ run failed" in text


def test_number_of_ours_leads_to_its_runs(reproduction, report):
    page = page_of(report)
    row = next(cell for cell in reproduction.cells if cell.verdict == "above")
    targets = [f"#run-{run.replace('/', '-')}" for run in row.runs]
    shared = sum(cell.runs == row.runs for cell in reproduction.cells)
    assert page.values("href").count(targets[0]) == 2 * shared
    assert all(page.values("href").count(target) == shared for target in targets[1:])
    assert f"{row.mean:.2f} ± {row.sd:.2f}" in page.text


def test_cell_stands_verbatim_beside_its_value_with_its_note_and_labels(report):
    text = " ".join(page_of(report).text.split())
    assert "79.8 ± 0.2, 5 seeds cell 79.8+/-0.2" in text
    assert "labelled (subset: train has 1,000 of 392,702 rows)" in text
    assert "our recipe" in text
    assert text.count("the DeBERTa paper, A.11, has MNLI 88.2/87.9") == 1


def test_verdict_stands_with_its_interval_tolerance_and_margin(reproduction, report):
    one = reproduction.cells[4]
    page, lines = page_of(report), markdown_tables(report)[0]
    interval = f"{one.low:.2f} to {one.high:.2f}"
    assert interval in page.text and "tolerance 0.55 margin 0.5" in " ".join(page.text.split())
    assert lines[6][7] == interval and lines[6][5].endswith("(tolerance 0.55)")
    assert {"undecided (about 9 seeds would decide)"} <= {line[6].partition(" ")[2] for line in lines}


def test_page_is_accessible_to_readers_who_do_not_see_it(report):
    page = page_of(report)
    tags = [tag for tag, _ in page.elements]
    assert ("html", {"lang": "en"}) in page.elements
    assert tags.count("h1") == 1
    assert tags.count("caption") == tags.count("table")
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    images = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert len(images) == tags.count("svg") == 4 + 1 + 5 + 1
    assert all(len(attributes["aria-label"]) > 20 for attributes in images)
    assert all(attributes.get("tabindex") == "0" for _, attributes in page.elements if attributes.get("class") == "scroll")


def test_markdown_tables_have_as_many_columns_in_every_line(reproduction, report):
    cells, runs = markdown_tables(report)
    assert {len(line) for line in cells} == {10}
    assert {len(line) for line in runs} == {7}
    assert len(cells) == 2 + len(reproduction.cells)
    assert len(runs) == 2 + len(reproduction.runs)
    assert cells[4][:3] == ["DeBERTa-v3-xsmall", "SQuAD 2.0 (F1/EM)", "validation/f1"]
    assert cells[4][4] == "84.8 of `84.8/82.0`"


def test_markdown_footnotes_and_figures_are_there(report):
    text = (report / "report.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[\^\d+\](?!:)", text)) == {mark[:-1] for mark in re.findall(r"^\[\^\d+\]:", text, flags=re.MULTILINE)}
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(figures) == 4
    assert all((report / name).is_file() for name in figures)


def test_hostile_text_is_text_in_the_page(hostile_report):
    page = page_of(hostile_report)
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert not any(link.startswith("javascript:") for link in page.values("href"))
    assert HOSTILE in page.text
    assert len(page.values("id")) == len(set(page.values("id")))


def test_hostile_text_breaks_no_markdown(hostile_report):
    cells, runs = markdown_tables(hostile_report)
    assert {len(line) for line in cells} == {10}
    assert {len(line) for line in runs} == {7}
    text = (hostile_report / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r"(?<!\\)\]\(javascript:", text)


def test_hostile_text_breaks_no_figure(hostile_report):
    drawn = {path.stem: ElementTree.parse(path).getroot() for path in (hostile_report / "figures").glob("*.svg")}
    assert len(drawn) == 4
    assert not any(element.tag.endswith("script") for root in drawn.values() for element in root.iter())
    assert any(element.text and "$\\frac{$" in element.text for element in drawn["scores"].iter())


def test_figures_are_svg_and_png_with_something_on_them(report):
    for path in (report / "figures").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10
    for path in (report / "figures").glob("*.png"):
        assert len(Image.open(path).convert("RGB").getcolors(1 << 24)) > 50, path.name


def test_score_far_off_is_drawn_at_the_edge_and_said(reproduction, tmp_path, drawn_alone):
    drawn_alone(cells_figure)
    far = reproduction.cells[2]
    write_report(with_cell(reproduction, 2, mean=40.0, low=39.0, high=41.0, difference=40.0 - far.value), tmp_path)
    assert f"{far.verdict}, off axis" in (tmp_path / "figures" / "scores.svg").read_text(encoding="utf-8")


def test_band_of_runs_with_different_steps_spans_what_each_has(reproduction, tmp_path, drawn_alone):
    """An evaluation that only one seed has, and a curve that ends early, are drawn without a warning."""
    drawn_alone(curves_figure)
    short = Curve(step=[100, 200], loss=[1.0, 0.9], evaluations=[])
    first = next(number for number, run in enumerate(reproduction.runs) if run.recipe == "mnli/deberta-v3-xsmall")
    runs = [replace(run, curve=short) if number == first else run for number, run in enumerate(reproduction.runs)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(replace(reproduction, runs=runs), tmp_path)
    steps, values = _over_seeds([([1, 3], [1.0, 3.0]), ([2], [5.0])])
    assert steps.tolist() == [1, 2, 3]
    assert np.array_equal(values, [[1, 2, 3], [np.nan, 5, np.nan]], equal_nan=True)


@pytest.mark.parametrize("figures", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_frozen_numbers_are_never_called_published(measured, tmp_path, drawn_alone, figures):
    """In the words of the report, and in those of its figures."""
    if not figures:
        drawn_alone()
    for path in write_report(measured, tmp_path):
        assert path.suffix == ".png" or "publish" not in path.read_text(encoding="utf-8").lower(), path.name
    assert "Frozen" in page_of(tmp_path).text


def test_report_before_anything_was_run_says_so_and_has_no_figure(nothing_run, tmp_path):
    written = write_report(nothing_run, tmp_path)
    assert [path.name for path in written] == ["index.html", "report.md", "report.json"]
    text = " ".join(page_of(tmp_path).text.split())
    assert "Nothing was run yet" in text
    assert "0 of 25 scores reproduced, 25 not run." in text
    assert "There are no runs." in text
    assert "Nothing was run yet" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_report_of_failed_runs_alone_does_not_say_that_nothing_was_run(nothing_run, tmp_path):
    runs = [blank("mnli", "deberta-v3-base", 1, status="failed", error="out of memory")]
    write_report(replace(nothing_run, runs=runs), tmp_path)
    text = page_of(tmp_path).text
    assert "No run has ended with a score yet" in text
    assert "out of memory" in text


def test_wheel_carries_the_template_of_the_page():
    root = Path(__file__).parents[2]
    carried = {file.distribution_path for file in WheelBuilder(str(root)).recurse_included_files()}
    assert "debft/output/pages/report.html.j2" in carried


SIZES = pytest.mark.parametrize(("width", "height"), [(360, 740), (390, 844), (1280, 900)])


@SIZES
def test_browser_shows_the_page_without_a_request_or_a_page_wider_than_the_screen(browser, report, tmp_path, width, height):
    address = (report / "index.html").as_uri()
    browser.open(address, width, height)
    picture = Image.open(browser.screenshot(tmp_path / "screen.png")).convert("RGB")
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)
    assert len(picture.getcolors(1 << 24)) > 100
    assert browser.requests == [address]
    # What the layout engine itself says, to the pixel; a screenshot shows only what is inside the screen.
    assert browser.evaluate("document.documentElement.scrollWidth") == width == browser.evaluate("innerWidth")
    assert browser.evaluate(TOO_WIDE) == []


@SIZES
def test_browser_cuts_off_no_text_of_a_figure(browser, report, width, height):
    browser.open((report / "index.html").as_uri(), width, height)
    assert browser.evaluate(CUT_OFF) == []


@SIZES
def test_no_table_is_wider_than_the_page(browser, report, width, height):
    browser.open((report / "index.html").as_uri(), width, height)
    wider = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).map(box => box.innerText)"
    assert browser.evaluate(wider) == []


def test_verdict_stands_right_below_the_name_of_its_score_on_a_phone(browser, report):
    browser.open((report / "index.html").as_uri(), 390, 844)
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.cards tbody tr th[scope=row]')].slice(0, 3).map(name => [name, name.nextElementSibling, "
        "name.nextElementSibling.nextElementSibling].map(cell => [cell.getBoundingClientRect().top, cell.getBoundingClientRect().left]))"
    )
    for name, verdict, number in boxes:
        assert name[0] < verdict[0] < number[0] and name[1] == verdict[1]


@SIZES
def test_numbers_on_the_axis_of_a_figure_do_not_collide(browser, report, width, height):
    """Ticks are the texts of one height; each begins right of where the last one ended."""
    browser.open((report / "index.html").as_uri(), width, height)
    overlaps = browser.evaluate(
        "[...document.querySelectorAll('#figure-scores svg')].flatMap(svg => { const boxes = [...svg.querySelectorAll('[id^=xtick_] text')]"
        ".map(text => text.getBoundingClientRect()).sort((a, b) => a.left - b.left);"
        " return boxes.slice(1).map((box, i) => box.left - boxes[i].right) }).filter(gap => gap < 4)"
    )
    assert overlaps == []


def test_reason_of_a_label_stands_once(reproduction, tmp_path, drawn_alone):
    drawn_alone()
    labelled = with_cell(reproduction, 2, verdict="labelled", verdict_text="labelled (max_steps 60)", labels=["max_steps 60"])
    write_report(labelled, tmp_path)
    assert page_of(tmp_path).text.count("max_steps 60") == 1


def test_page_is_dark_where_the_reader_prefers_it(browser, report, tmp_path):
    brightness = {}
    for dark in (False, True):
        browser.open((report / "index.html").as_uri(), 1280, 900, dark=dark)
        brightness[dark] = sum(
            Image.open(browser.screenshot(tmp_path / f"{dark}.png")).convert("L").resize((1, 1)).getpixel((0, 0)) for _ in "1"
        )
    assert brightness[True] < 60 < 200 < brightness[False]


def test_page_prints(browser, report):
    browser.open((report / "index.html").as_uri(), 1280, 900)
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000


def test_hostile_text_runs_nothing_in_the_browser(browser, hostile_report):
    address = (hostile_report / "index.html").as_uri()
    browser.open(address, 390, 844)
    assert browser.evaluate("document.querySelectorAll('script, img, [onerror]').length") == 0
    assert browser.requests == [address]
    assert browser.evaluate("document.documentElement.scrollWidth") == 390


def test_what_training_logged_is_shown_in_its_own_unit_and_kept_out_of_the_figure_in_points(reproduction):
    assert [
        score_text("train/num_tokens", 626808.0),
        score_text("train/learning_rate", 0.0005),
        score_text("validation/f1", 84.0),
    ] == ["626,808", "0.0005", "84.00"]
    of_training = cell("row", "model", "mnli", "MNLI", "mnli", "train/loss", "0.5", 0.5, difference=0.1)
    assert not cells_figure(replace(reproduction, cells=[of_training])).panels


def test_validation_and_test_of_one_score_have_different_names_in_the_figure():
    cells = [cell("row", "m", "xnli", "XNLI", "xnli", f"{split}.avg/accuracy", "62.6", 62.6) for split in ("validation", "test")]
    assert [_distinct(one, cells) for one in cells] == ["validation avg accuracy", "test avg accuracy"]
    assert _distinct(cells[0], cells[:1]) == "xnli avg accuracy"
    curves = ["validation.avg/accuracy", "test.avg/accuracy", "test.fr/accuracy"]
    assert [_series_name(score, curves) for score in curves] == ["validation avg accuracy", "test avg accuracy", "fr accuracy"]


def test_languages_are_scores_of_languages_and_each_split_is_named(reproduction):
    def panels(*scores: str) -> list[str]:
        cells = [cell("row", "m", "xnli", "XNLI", "xnli", score, "60.0", 60.0, mean=61.0) for score in scores]
        return [panel.label for panel in languages_figure(replace(reproduction, cells=cells)).panels]

    averages = ("validation.avg/accuracy", "test.avg/accuracy", "train/loss", "train/num_tokens")
    assert panels(*averages) == []
    (one,) = panels(*averages, "test.fr/accuracy")
    assert one == "Accuracy of row per language: avg 61.0 (published 60.0), fr 61.0 (published 60.0)"
    assert [label.split(" per ")[0] for label in panels(*averages, "test.fr/accuracy", "validation.fr/accuracy")] == [
        "Accuracy of row, validation",
        "Accuracy of row, test",
    ]


def test_axis_of_the_scores_reaches_beyond_a_spread_but_not_to_one_far_off():
    def one(spread: float) -> dict[str, Any]:
        return cell("row", "m", "mnli", "MNLI", "mnli", "validation/accuracy", "80.0", 80.0, mean=80.2, spread=spread)

    assert _limit([one(5.0)]) > 1.5 * 5.0
    assert 2.0 < _limit([one(1.0), one(1.0), one(40.0)]) < 10.0


def test_figure_has_the_word_of_a_verdict_and_its_label_the_reason(reproduction, report):
    drawn = (report / "figures" / "scores.svg").read_text(encoding="utf-8")
    assert "○ undecided" in drawn and "◇ labelled" in drawn
    assert "subset" not in drawn
    assert any("labelled (subset: train has 1,000" in panel.label for panel in cells_figure(reproduction).panels)


def test_minus_is_one_sign_in_ours_difference_and_interval(reproduction, tmp_path, drawn_alone):
    drawn_alone()
    of_cola = "validation/matthews_correlation"
    reproduction = with_cell(reproduction, 2, score=of_cola, mean=-3.5, difference=-88.3, low=-22.29, high=76.98)
    write_report(reproduction, tmp_path)
    for text in (page_of(tmp_path).text, (tmp_path / "report.md").read_text(encoding="utf-8")):
        assert all(number in text for number in ("−3.50", "−88.30", "−22.29 to 76.98"))
        assert not re.search(r"-(3\.50|88\.30|22\.29)", text)
    assert "ours −3.50" in cells_figure(reproduction).panels[0].label


def test_page_names_the_units_that_are_there(reproduction, report, tmp_path, drawn_alone):
    drawn_alone()
    assert all("Percent. Ours" in text for text in (page_of(report).text, (report / "report.md").read_text(encoding="utf-8")))
    reproduction.cells.append(cell("row", "m", "mnli", "MNLI", "mnli", "train/loss", "0.5", 0.5))
    write_report(reproduction, tmp_path)
    assert "Scores in percent; what training logged in its own unit. Ours" in page_of(tmp_path).text


def test_markdown_number_of_ours_leads_to_its_first_run_in_the_page(reproduction, report):
    lines, _ = markdown_tables(report)
    links = [re.fullmatch(r"\[[^\]]+\]\(index\.html#([^)]+)\)", line[3]) for line in lines[2:]]
    assert [bool(link) for link in links] == [one.mean is not None for one in reproduction.cells]
    assert {link[1] for link in links if link} <= set(page_of(report).values("id"))
    assert links[2][1] == f"run-{reproduction.cells[2].runs[0].replace('/', '-')}"


def test_interrupted_is_said_once(reproduction, tmp_path, drawn_alone):
    drawn_alone()
    error = "interrupted after step 205 of 752; the same command goes on"
    reproduction.runs.append(blank("mnli", "deberta-v3-base", 3, status="interrupted", error=error))
    write_report(reproduction, tmp_path)
    assert "‖ interrupted: after step 205 of 752; the same" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "interrupted after step" not in page_of(tmp_path).text


def test_seeds_of_one_recipe_share_a_section_and_a_learning_curve_with_a_band(reproduction):
    (recipe,) = [one for one in page_content(reproduction).recipes if one.name == "mnli/deberta-v3-xsmall"]
    assert [run.seed for run in recipe.runs] == list(SEEDS)
    (panel,) = [one for one in curves_figure(reproduction).panels if one.label.startswith("mnli/deberta-v3-xsmall, 5 seeds: ")]
    panel.draw(figure := Figure())
    assert all(axes.collections for axes in figure.axes)


def test_speed_of_a_run_stands_beside_its_card(reproduction):
    """A run of a debft that did not record the card goes by its device."""
    old, new, *more = reproduction.runs
    new = replace(new, environment=old.environment | {"gpu": "NVIDIA H100 80GB HBM3"})
    report = replace(reproduction, runs=[old, new, *more])
    label = speed_figure(report).panels[0].label
    assert "squad2/deberta-v3-xsmall on cuda:0 bf16 9," in label
    assert "squad2/deberta-v3-xsmall on NVIDIA H100 80GB HBM3 bf16 9," in label
    devices = {run.id: run.device for recipe in page_content(report).recipes for run in recipe.runs}
    assert (devices[old.id], devices[new.id]) == ("cuda:0", "NVIDIA H100 80GB HBM3")
