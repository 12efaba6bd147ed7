"""What the report says, in words and numbers ready to print; the page and the Markdown differ only in their marks."""

import re
from functools import partial
from typing import Any
from urllib.parse import quote

from debft.console import clock
from debft.runs.result import in_percent

VERDICTS = ("reproduced", "above", "below", "undecided", "labelled", "not run")
# The symbol carries the verdict where colour does not.
SYMBOLS = {
    "reproduced": "✓",
    "above": "▲",
    "below": "▼",
    "undecided": "○",
    "labelled": "◇",
    "no number": "–",
    "not run": "–",
    "failed": "✗",
    "interrupted": "‖",
    "damaged": "✗",
    "complete": "✓",
}
UNCOUNTED = ("failed", "interrupted", "damaged")  # of runs that are not counted
SCORES_SHOWN = 6  # columns of a table of runs; a run's own list has all its scores
_URL = re.compile(r"https?://[^\s<>\"'`|]+[^\s<>\"'`|.,;:)]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_COMMON_SPLITS = ("validation", "test")


def content(reproduction: dict[str, Any]) -> dict[str, Any]:
    """Everything but the figures. Numbers are text, `links` are (text, URL or None) pairs, anchors are safe as an HTML id."""
    table, cells, runs = (reproduction[key] for key in ("table", "cells", "runs"))
    anchors = _anchors([run["id"] for run in runs])
    notes = _Notes(table)
    return {
        "title": table["title"],
        "name": table["name"],
        "word": reference_word(table),
        "source": linked(table["source"]),
        "note": linked(table["note"]),
        **{key: reproduction[key] for key in ("rule", "command", "made", "versions")},
        "counts": counts(reproduction),
        "summary": summary(reproduction),
        "missing": missing(reproduction),
        "unit": _unit(cells),
        "rows": _rows(cells, {run["id"]: run for run in runs}, anchors, notes),
        "notes": notes.texts,
        "recipes": _recipes(cells, runs, anchors),
        "others": [_other(other) for other in reproduction["others"]],
    }


def reference_word(table: dict[str, Any]) -> str:
    """`frozen` for numbers we measured ourselves, which nobody published."""
    return "frozen" if table["kind"] == "measured" else "published"


def counts(reproduction: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(verdict, unit, how many): the verdicts over the scores that have a number in the table, then the runs that stopped or are
    damaged.
    """
    verdicts = [cell["verdict"] for cell in reproduction["cells"] if cell["value"] is not None]
    statuses = [run["status"] for run in reproduction["runs"]]
    scores = [(name, _units(verdicts.count(name), "score"), verdicts.count(name)) for name in VERDICTS]
    stopped = [(name, _units(statuses.count(name), "run"), statuses.count(name)) for name in UNCOUNTED]
    return [*scores, stopped[0], *(entry for entry in stopped[1:] if entry[2])]


def summary(reproduction: dict[str, Any]) -> str:
    """One line: `9 of 14 scores reproduced, 1 above, 2 below, 2 not run; 1 run failed`."""
    found = counts(reproduction)
    by_name = {name: count for name, _, count in found}
    total = sum(by_name[name] for name in VERDICTS)
    parts = [f"{by_name['reproduced']} of {total} {_units(total, 'score')} reproduced"]
    parts += [f"{by_name[name]} {name}" for name in VERDICTS[1:] if by_name[name]]
    stopped = [f"{count} {unit} {name}" for name, unit, count in found[len(VERDICTS) :] if count]
    return "; ".join([", ".join(parts), *stopped])


def missing(reproduction: dict[str, Any]) -> str | None:
    """Why there is no score of ours at all, None where there is one."""
    if any(cell["mean"] is not None for cell in reproduction["cells"]):
        return None
    started = any(run["status"] != "not run" for run in reproduction["runs"])
    why = "No run has ended with a score yet" if started else "Nothing was run yet"
    return f"{why}, so there are no scores of ours; the table lists what will be compared."


def _unit(cells: list[dict]) -> str:
    of_training = any(not in_percent(cell["score"]) for cell in cells)
    return "Scores in percent; what training logged in its own unit." if of_training else "Percent."


def _units(count: int, unit: str) -> str:
    return unit if count == 1 else f"{unit}s"


def linked(text: str | None) -> list[tuple[str, str | None]]:
    """The text in (text, URL) pieces; URL is None where a piece is no web address."""
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for match in _URL.finditer(text or ""):
        pieces += [((text or "")[end : match.start()], None), (match.group(), match.group())]
        end = match.end()
    return [piece for piece in [*pieces, ((text or "")[end:], None)] if piece[0]]


def signed(value: float, decimals: int = 2) -> str:
    """`+0.04`, `−0.31`; zero has no sign."""
    text = _minus(f"{value:+.{decimals}f}")
    return text if text.strip("+−0.") else text[1:]


def _minus(number: str) -> str:
    return number.replace("-", "−")


def shown(score: str, value: float | None, missing: str = "–") -> str:
    """A score in percent with two decimals; what training logged, `train/loss`, in its own unit with four digits or whole."""
    if value is None:
        return missing
    if in_percent(score):
        return _minus(f"{value:.2f}")
    return _minus(f"{value:,.0f}" if value == int(value) else f"{value:.4g}")


def score_label(cell: dict[str, Any]) -> str:
    """Short and unique within its table row: `mnli matched accuracy`, `squad2 f1`, `fr accuracy`."""
    return " ".join(dict.fromkeys([cell["column"], *short_score(cell["score"]).split(" ")]))


def short_score(score: str) -> str:
    """`matched accuracy` of `validation_matched/accuracy`, `fr accuracy` of `test.fr/accuracy`."""
    split, _, metric = score.partition("/")
    part, *rest = re.split(r"[_.]", split, maxsplit=1)
    return " ".join([*(rest if part in _COMMON_SPLITS else [split]), metric.replace("_", " ")])


def long_score(score: str) -> str:
    """`test fr accuracy` of `test.fr/accuracy`, where the short name stands for two scores."""
    return re.sub(r"[_./]", " ", score)


def as_printed(cell: dict[str, Any]) -> str:
    """The value with the decimals of the cell: `88.1` of `88.1/88.3`, `80.0` of `80.0`."""
    return f"{cell['value']:.{decimals(cell)}f}"


def decimals(cell: dict[str, Any]) -> int:
    """How many the cell prints; its rounding is half a unit of the last one."""
    matching = [text for text in _NUMBER.findall(cell["cell"]) if float(text) == cell["value"]]
    return len(matching[0].partition(".")[2]) if matching else 1


class _Notes:
    """Footnotes in the order of their first mention, each text once."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.texts: list[list[tuple[str, str | None]]] = []

    def numbers(self, cell: dict[str, Any]) -> list[int]:
        found = [cell["note"]] if cell["note"] else []
        if cell["source"] != self.table["source"]:
            found.append(f"from {cell['source']}")
        return [self._number(linked(text)) for text in found]

    def _number(self, text: list[tuple[str, str | None]]) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def _rows(cells: list[dict], runs: dict[str, dict], anchors: dict[str, str], notes: _Notes) -> list[dict[str, Any]]:
    """Cells under the table row they belong to, in table order."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        rows.setdefault(cell["row"], []).append(_cell(cell, runs, anchors, notes))
    return [{"name": name, "cells": inside} for name, inside in rows.items()]


def _cell(cell: dict[str, Any], runs: dict[str, dict], anchors: dict[str, str], notes: _Notes) -> dict[str, Any]:
    labels = [*cell["labels"], *(["our recipe"] if cell["ours"] and "our recipe" not in cell["labels"] else [])]
    value = partial(_shown_or_none, cell["score"])
    return {
        "row": cell["row"],
        "header": cell["header"],
        "score": cell["score"],
        "verdict": cell["verdict"],
        "verdict_text": cell["verdict_text"],
        "symbol": SYMBOLS[cell["verdict"]],
        "labels": labels,
        "notes": notes.numbers(cell),
        "value": None if cell["value"] is None else as_printed(cell),
        "cell": cell["cell"],
        "spread": _spread(cell),
        "mean": value(cell["mean"]),
        "sd": value(cell["sd"]),
        "n": cell["n"],
        "tolerance": value(cell["tolerance"]),
        "margin": None if cell["margin"] is None else f"{cell['margin']:g}",
        "interval": None if cell["low"] is None else f"{value(cell['low'])} to {value(cell['high'])}",
        "difference": _difference(cell),
        "runs": [{"seed": runs[run]["seed"], "anchor": anchors[run]} for run in cell["runs"]],
    }


def _shown_or_none(score: str, value: float | None) -> str | None:
    return None if value is None else shown(score, value)


def _difference(cell: dict[str, Any]) -> str | None:
    if cell["difference"] is None or in_percent(cell["score"]):
        return None if cell["difference"] is None else signed(cell["difference"])
    return _minus(f"{cell['difference']:+.3g}") if cell["difference"] else "0"


def _spread(cell: dict[str, Any]) -> str:
    """`± 0.2, 5 seeds` where the table says so."""
    said = [f"± {cell['spread']:g}"] if cell["spread"] is not None else []
    return ", ".join(said + ([f"{cell['seeds']} seeds"] if cell["seeds"] else []))


def _recipes(cells: list[dict], runs: list[dict], anchors: dict[str, str]) -> list[dict[str, Any]]:
    """Runs under their recipe, as it was when they ran; a recipe changed in between is another one."""
    sources = {cell["recipe"]: cell["recipe_source"] for cell in cells}
    compared: dict[str, list[str]] = {}
    for cell in cells:
        compared.setdefault(cell["recipe"], []).append(cell["score"])
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        groups.setdefault((run["recipe"], run["recipe_hash"]), []).append(run)
    return [
        {
            "name": name,
            "hash": digest,
            "source": linked(sources.get(name)),
            "dialect": inside[0]["dialect"],
            "columns": (columns := _columns(inside, compared.get(name, []))),
            "runs": [_run(run, anchors[run["id"]], columns) for run in inside],
        }
        for (name, digest), inside in groups.items()
    ]


def _columns(runs: list[dict], compared: list[str]) -> list[str]:
    """The compared scores first, of those the runs have."""
    found = dict.fromkeys(score for run in runs for score in run["scores"])
    return sorted(found, key=lambda score: compared.index(score) if score in compared else len(compared))[:SCORES_SHOWN]


def _run(run: dict[str, Any], anchor: str, columns: list[str]) -> dict[str, Any]:
    seconds = [run[key] for key in ("train_seconds", "eval_seconds") if run[key] is not None]
    error = (run["error"] or "").removeprefix("interrupted " if run["status"] == "interrupted" else "")  # the status says it
    environment = run["environment"] or {}
    return {
        "id": run["id"],
        "anchor": anchor,
        "seed": run["seed"],
        "status": run["status"],
        "symbol": SYMBOLS[run["status"]],
        "error": error,
        "href": relative_link(run["directory"]),
        "directory": run["directory"],
        "command": run["command"],
        "rows": run["rows"],
        "labels": run["labels"],
        "shown": [shown(score, run["scores"].get(score)) for score in columns],
        "scores": {score: shown(score, value) for score, value in run["scores"].items()},
        "wall_time": clock(sum(seconds)) if seconds else "–",
        "speed": "–" if run["examples_per_second"] is None else f"{run['examples_per_second']:,.0f}",
        "memory": "–" if run["peak_memory_bytes"] is None else f"{run['peak_memory_bytes'] / 2**30:.1f} GiB",
        "steps": "–" if run["steps"] is None else f"{run['steps']:,}",
        "facts": _facts(run),
        "device": environment.get("gpu") or environment.get("device") or "–",
    }


def _other(other: dict[str, Any]) -> dict[str, Any]:
    return {key: other[key] for key in ("id", "status", "made_by")} | {"href": relative_link(other["directory"])}


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """What else is known of a run, by name, leaving out what is not."""
    facts = {
        "model": run["model"],
        "starts from": run["starts_from"],
        "task": run["task"],
        "SiFT weight": run["sift_weight"] or None,
        "data": run["data"],
        "fingerprints": _pairs(run["fingerprints"]),
        "training rows": _count(run["num_train_examples"]),
        "training tokens": _count(run["num_tokens"]),
        "environment": _pairs(run["environment"]),
        "labels": ", ".join(run["labels"]),
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def _pairs(values: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items() if value is not None)


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _anchors(ids: list[str]) -> dict[str, str]:
    """An HTML id for each run that stays when other runs come, unless two differ only in what an id cannot hold."""
    anchors: dict[str, str] = {}
    for run_id in ids:
        wanted = anchor = "run-" + re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-")
        number = 2
        while anchor in anchors.values():
            anchor, number = f"{wanted}-{number}", number + 1
        anchors[run_id] = anchor
    return anchors


def relative_link(path: str) -> str:
    """A path as a link; a colon is quoted too, so no path can become a `javascript:` address."""
    return quote(path, safe="/.-_~")
