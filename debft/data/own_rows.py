"""The user's own rows come in the splits of a run: as files, a data set or a column part them, or with some of them held out.

What is held out is cut by `splits.cut`: by label, seeded, rows with the same text together, whatever the order of the file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from debft.config.recipe import OwnConfig, Recipe
from debft.console import say
from debft.data.examples import Examples
from debft.data.giveaways import giveaway_columns
from debft.data.label_names import label_name
from debft.data.problems import NOTHING_SKIPPED
from debft.data.rows import check_rows
from debft.data.same_texts import digests, grouped, normalised
from debft.data.sources import demo
from debft.data.sources.own import own_task
from debft.data.sources.own_source import Tables, eval_tables, kind_of, tables
from debft.data.sources.split_names import TENTH
from debft.data.splits import cut, folds_of, strata_of
from debft.errors import InputError
from debft.runs.result import HeldOut
from debft.tasks import TEXT, Split, TextClassification

EVALS = {"validation": TEXT.evals[0], "test": Split("test", "", "test")}


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """The rows of a run on own data are checked, and each is in one split.

    task: with the columns and labels of the data, and the splits that have rows
    examples: the rows by the name of the split
    source: `demo`, `file`, `directory` or `dataset`
    held_out: what was cut off the training rows; None where every split came as it is
    ids: the ids of the rows of each split that was cut off
    giveaways: the columns that tell the label of nearly every row
    """

    task: TextClassification
    examples: dict[str, Examples]
    source: str
    held_out: HeldOut | None = None
    ids: dict[str, list[str]] = field(default_factory=dict)
    giveaways: tuple[str, ...] = ()


def own_rows(recipe: Recipe, known: TextClassification | None = None, recorded: Mapping[str, Any] | None = None) -> OwnRows:
    """Read and check the own rows that a recipe names, and hold out what it asks for.

    known: the task of a model that was trained on them, None to find it in the training rows
    recorded: what a run has written about what it held out (`record_of`), to hold out the very same rows
    Raises InputError where the rows, or what the recipe says about them, are wrong.
    """
    own, config = recipe.own, recipe.train
    read, shares = _read(recipe, known)
    examples, whole = dict(read.examples), read.examples["train"]
    if shares or own.folds is not None:
        fingerprint = whole.fingerprint()
        if recorded is not None and recorded["fingerprint"] != fingerprint:
            raise InputError(
                f"{whole.source}: expected the {recorded['of']:,} rows that the run cut into splits, got {len(whole):,} others; "
                "give --data a file to score all of its rows"
            )
        parts = _parts(whole, own, shares) if recorded is None else _recorded_parts(whole, recorded["ids"])
        examples |= parts
        if own.folds is not None:
            shares = {"validation": 1 / own.folds} | shares
        if lacking := [name for name in shares if name not in parts]:
            raise _not_recorded(whole, lacking[0])
        ids = {name: list(parts[name].ids) for name in shares}
        held_out = HeldOut(of=len(whole), fingerprint=fingerprint, seed=own.split_seed, shares=shares)
        read = replace(read, held_out=held_out, ids=ids)
        limits = {"train": config.max_train_samples}
        examples = {name: rows.part(0, limits.get(name, config.max_eval_samples)) for name, rows in examples.items()}
        _check_variety(examples["train"], read.task, config.max_train_samples)
    evals = tuple(split for name, split in EVALS.items() if name in examples)
    task = replace(read.task, evals=evals, selection=("validation",) if len(evals) > 1 else ())
    return replace(read, task=task, examples={split.name: examples[split.name] for split in task.splits})


def rows_to_score(recipe: Recipe, task: TextClassification) -> dict[str, Examples]:
    """Read and check the validation rows, and the test rows with labels, of a recipe's source, as far as they are there.

    task: that of the model
    Raises InputError where there are neither.
    """
    limit, own = recipe.train.max_eval_samples, recipe.own
    found, notes = _with_labels(eval_tables(recipe.data, own, limit), task)
    for note in notes:
        say(note)
    rows = {name: check_rows(table, task, limit, skip=recipe.train.skip_bad_rows) for name, table in found.items()}
    return {name: rows[name] for name in EVALS if name in rows}


def rows_and_folds(recipe: Recipe, folds: int) -> tuple[Examples, np.ndarray]:
    """Return the rows that are cut into folds, N of them, and the fold of each, (N,) from 1."""
    read, shares = _read(recipe, None)
    whole = read.examples["train"]
    if shares:
        whole = _parts(whole, replace(recipe.own, folds=None), shares)["train"]
    return whole, _folds_of(whole, folds, recipe.own.split_seed)


def record_of(rows: OwnRows) -> dict[str, Any]:
    """Return what a run writes about what it held out: shares, seed, the fingerprint of all rows, and the ids of those held out."""
    return (asdict(rows.held_out) | {"ids": rows.ids}) if rows.held_out is not None else {}


def _read(recipe: Recipe, known: TextClassification | None) -> tuple[OwnRows, dict[str, float]]:
    """Return the rows in the splits that they came in, and the share of the training rows that each other one is to have."""
    own, config = recipe.own, recipe.train
    found = _found(recipe)
    _check_options(found, own, recipe.data)
    shares = {} if "validation" in found or own.folds is not None else {"validation": own.validation or TENTH}
    shares |= {"test": own.test} if own.test is not None else {}
    task = known or own_task(own, found["train"], skip=config.skip_bad_rows)
    found, notes = _with_labels(found, task)
    is_cut = bool(shares) or own.folds is not None
    limits = {"train": config.max_train_samples}
    examples = {
        name: check_rows(
            table,
            task,
            None if is_cut else limits.get(name, config.max_eval_samples),
            train=name == "train" and known is None,
            skip=config.skip_bad_rows,
        )
        for name, table in found.items()
    }
    examples["train"] = replace(examples["train"], notes=(*examples["train"].notes, *notes))
    source = recipe.data if recipe.data == "demo" else kind_of(recipe.data)
    return OwnRows(task=task, examples=examples, source=source, giveaways=tuple(giveaway_columns(found["train"], task))), shares


def _found(recipe: Recipe) -> Tables:
    """Read the splits that the source has."""
    if recipe.data == "hub":
        raise InputError(
            "--data hub: text reads your own rows; give --data FILE, a directory with train and validation files, or a hub id"
        )
    if recipe.data == "demo":
        return {split.name: demo.table(TEXT, split) for split in TEXT.splits}
    return tables(recipe.data, recipe.own, recipe.train.max_train_samples, recipe.train.max_eval_samples)


def _check_options(found: Tables, own: OwnConfig, source: str) -> None:
    """Raise InputError for an option that says how to make a split that is there."""
    for name, value in (("validation", own.validation), ("test", own.test)):
        if value is not None and name in found:
            raise InputError(f"--{name} {value:g}: {found[name].path} has the {name} rows; leave it out")
    if own.folds is not None and "validation" in found:
        raise InputError(
            f"--folds {own.folds}: cuts the training rows, but {found['validation'].path} is there as well, which nothing would "
            "read; add its rows to the training file, or leave --folds out"
        )
    for option, given in (("--split-column", own.split_column), ("--subset", own.subset), ("--encoding", own.encoding)):
        if source == "demo" and given is not None:
            raise InputError(f"{option} {given}: is for rows of your own, --data demo has none; leave it out")


def _with_labels(found: Tables, task: TextClassification) -> tuple[Tables, list[str]]:
    """Return the tables without a test split that has no labels, and the line that says so."""
    test = found.get("test")
    if test is None or any(_is_label(value, task) for value in test.columns.get(task.label_key, [])):
        return found, []
    rest = {name: table for name, table in found.items() if name != "test"}
    return rest, [f"{test.path}: has no labels, so it is not scored; `debft predict` labels it"]


def _is_label(value: Any, task: TextClassification) -> bool:
    """Tell whether a cell holds a label; -1 stands for a hidden one, unless the training rows have it."""
    if isinstance(value, list):
        return True
    name = label_name(value)
    return name is not None and (name != "-1" or "-1" in task.labels or task.is_regression)


def _parts(whole: Examples, own: OwnConfig, shares: dict[str, float]) -> dict[str, Examples]:
    """Cut the shares off the training rows, and then what is left into folds, where there are to be such."""
    parts = {"train": whole}
    if shares:
        part_N = cut(whole.texts, strata_of(whole), [1 - sum(shares.values()), *shares.values()], own.split_seed)
        parts = {name: _chosen(whole, part_N == number, name) for number, name in enumerate(("train", *shares))}
        for name in shares:
            if not len(parts[name]):
                raise InputError(
                    f"--{name} {shares[name]:g}: expected rows for {name}, got none of the {len(whole):,} in {whole.source}: "
                    f"{_why_none(whole)}; give a larger share, or rows of their own"
                )
    if own.folds is not None:
        left, fold = parts["train"], own.fold
        if fold is None:
            raise InputError(f"own.folds: expected a fold for a single run, 1 to {own.folds}; give --set own.fold=1")
        fold_N = _folds_of(left, own.folds, own.split_seed)
        parts["train"] = _chosen(left, fold_N != fold, "train", f"{left.source} without fold {fold} of {own.folds}")
        parts["validation"] = _chosen(left, fold_N == fold, "validation", f"{left.source}, fold {fold} of {own.folds}")
    return parts


def _why_none(whole: Examples) -> str:
    """Return why a share of the rows is no row."""
    _, begins = grouped(digests(map(normalised, whole.texts)))
    different = len(begins)
    if different < len(whole):
        return f"they have {different:,} different text{'s' if different > 1 else ''}, and rows with the same text stay together"
    return "no label has rows enough to give one"


def _folds_of(rows: Examples, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, (N,) from 1. Raises InputError where there are fewer rows than folds."""
    if len(rows) < folds:
        raise InputError(f"--folds {folds}: expected at least as many rows, got {len(rows)} in {rows.source}")
    return folds_of(rows, folds, seed)


def _recorded_parts(whole: Examples, ids: Mapping[str, list[str]]) -> dict[str, Examples]:
    """Cut off the rows with these ids."""
    part_of = {identity: number for number, held_out in enumerate(ids.values(), start=1) for identity in held_out}
    part_N = np.fromiter((part_of.get(identity, 0) for identity in whole.ids), np.int8, len(whole))
    parts = {name: _chosen(whole, part_N == number, name) for number, name in enumerate(("train", *ids))}
    if wrong := [name for name in parts if not 0 < len(parts[name]) == len(ids.get(name, parts[name]))]:
        raise _not_recorded(whole, wrong[0])
    return parts


def _not_recorded(whole: Examples, name: str) -> InputError:
    return InputError(
        f"{whole.source}: expected rows with the ids of {name} that split.json of the run names, got others or none; bring "
        "split.json back, or give --data a file to score all of its rows"
    )


def _chosen(whole: Examples, chosen_N: np.ndarray, name: str, source: str | None = None) -> Examples:
    """Return some of the rows as a split. Rows that were skipped count for the training rows, which they were read with."""
    part = whole.chosen(np.flatnonzero(chosen_N), source or (whole.source if name == "train" else f"{whole.source} ({name})"))
    return part if name == "train" else replace(part, skipped=NOTHING_SKIPPED)


def _check_variety(train: Examples, task: TextClassification, limit: int | None) -> None:
    """Raise InputError where the rows that are left to train on are all labelled alike, or none are."""
    if len(train) and len(np.unique(train.labels, axis=0)) > 1:
        return
    what = "scores" if task.is_regression else "labels"
    where = f"--max-train-samples {limit}" if limit is not None else train.source
    raise InputError(
        f"{where}: expected at least two {what} in the rows that are left to train on, got fewer; give more rows or fewer folds"
    )
