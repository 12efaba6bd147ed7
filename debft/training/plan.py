"""Everything about a run that can be known, and wrong, before weights are loaded."""

import errno
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from debft.config.differences import differing_keys
from debft.config.recipe import SOURCES, Recipe, value_at
from debft.console import say
from debft.data.load import absent_languages, encode_split, load_table, task_for
from debft.data.rows import Examples, check_rows, say_skipped
from debft.data.sources.own import quoted
from debft.data.windows import unlearnable
from debft.errors import InputError
from debft.models.build import ModelFiles, build_tokenizer, check_model_name, find_model, longest_input, read_config
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import DiskError
from debft.runtime.launch.group import is_main_process
from debft.tasks import QuestionAnswering, Task, TextClassification, task_of
from debft.tasks.rules import check_recipe
from debft.training.schedule import check_schedule

MOST_SHOWN = 8  # labels or splits in one line


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known before weights are loaded, and has been checked.

    examples: by split name; num_sequences: trained on in an epoch
    """

    recipe: Recipe
    task: Task
    files: ModelFiles
    examples: dict[str, Examples]
    num_sequences: int
    total_steps: int

    @property
    def train(self) -> Examples:
        return self.examples[self.task.train.name]

    def remarks(self) -> list[str]:
        """What the data decided: columns, labels and how many rows of each, where the rows come from."""
        task, lines = self.task, []
        if task.name == "text":
            lines.append(f"texts {', '.join(map(quoted, task.text_keys))}   label {quoted(task.label_key)}")
            if self.train.unused and self.recipe.text.text_columns is None:
                lines.append(f"not read: {_some([quoted(name) for name in self.train.unused])}")
        if task.name == "xnli":
            lines.append(f"train on {self.train.source}")
            if lacking := absent_languages(task_of(task.name, self.recipe.languages), task.evals):
                there = dict.fromkeys(split.config for split in task.evals)
                lines.append(f"no rows of {', '.join(lacking)}: evaluated on {', '.join(there)}")
        if isinstance(task, TextClassification):
            lines += self._labels()
            lines += [line for split in task.evals if (line := self._alike(split.name))]
        return lines

    def _labels(self) -> list[str]:
        """The labels with the number of training rows of each, or the range of the scores; and what is odd about them."""
        labels_N, labels = self.train.labels, self.task.labels
        if self.task.is_regression:
            return [f"scores {labels_N.min():g} to {labels_N.max():g}, mean {labels_N.mean():.2f}"]
        counts = np.bincount(labels_N, minlength=len(labels))
        lines = ["   ".join(["labels", _some([f"{label} {count:,}" for label, count in zip(labels, counts, strict=True)], "   ")])]
        own = self.task.name == "text"
        if own and self.recipe.text.problem == "auto" and len(labels) > 2 and all(map(str.isdecimal, labels)):
            lines[0] += "   (whole numbers are labels; --problem regression makes them a score)"
        alike = Counter(map(str.casefold, labels)) if own else {}
        if same := [label for label in labels if alike.get(label.casefold(), 1) > 1]:
            lines.append(f"labels that differ in case alone: {_some(same)}")
        if none := [label for label, count in zip(labels, counts, strict=True) if not count]:
            first = f" in the first {len(labels_N):,}" if self.recipe.train.max_train_samples is not None else ""
            lines.append(f"no training row{first} is labelled {_some(none)}: the model cannot learn it")
        return lines

    def _alike(self, name: str) -> str | None:
        """What to say of an eval split whose rows all have one label or score: several metrics mean nothing there."""
        labels_N = self.examples[name].labels
        if len(labels_N) < 2 or (labels_N != labels_N[0]).any():
            return None
        label = f"{labels_N[0]:g}" if self.task.is_regression else self.task.labels[labels_N[0]]
        first = "the first " if self.recipe.train.max_eval_samples is not None else ""
        return f"{name}: all of {first}{len(labels_N):,} rows are labelled {label}; its scores say little"

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        return {name: examples.fingerprint() for name, examples in self.examples.items()}

    @property
    def skipped_rows(self) -> dict[str, int]:
        return {name: len(examples.skipped) for name, examples in self.examples.items()}


def _some(names: list[str], between: str = ", ") -> str:
    """The first names, and how many there are in all where that is not all of them."""
    more = [f"... ({len(names)} in all)"] if len(names) > MOST_SHOWN else []
    return between.join([*names[:MOST_SHOWN], *more])


def make_plan(recipe: Recipe) -> Plan:
    """Check recipe, model files and every row of the data. Raises InputError; touches no weights, writes no run."""
    check_recipe(recipe)
    config = recipe.train
    task = task_for(recipe)
    if config.checkpoint == "best" and not task.selection_evals:
        raise InputError(
            f"train.checkpoint: best needs {task.selection[0]} to choose by; add {recipe.languages.train_language} to --language, "
            "or its rows to the data"
        )
    check_model_name(recipe.model or "")
    examples = {
        split.name: check_rows(
            load_table(task, split, recipe.data),
            task,
            config.max_train_samples if split is task.train else config.max_eval_samples,
            train=split is task.train,
            skip=config.skip_bad_rows,
        )
        for split in task.splits
    }
    files = _find_weights(recipe)
    longest = longest_input(read_config(files.path))
    if longest is not None and recipe.text.max_seq_length > longest:
        raise InputError(
            f"text.max_seq_length: expected at most the {longest} positions of {files.name}, got {recipe.text.max_seq_length}"
        )
    num_sequences = _num_sequences(task, examples[task.train.name], files, recipe)
    total_steps = check_schedule(config, num_sequences)
    return Plan(recipe=recipe, task=task, files=files, examples=examples, num_sequences=num_sequences, total_steps=total_steps)


def _find_weights(recipe: Recipe) -> ModelFiles:
    """The files that training starts from: the model's, or those of the run in `init_from`."""
    model = recipe.model or ""
    if recipe.init_from is None:
        return find_model(model, recipe.train.from_scratch)
    where, run = f"--init-from {recipe.init_from}", RunDirectory(Path(recipe.init_from))
    if recipe.train.from_scratch:
        raise InputError(f"{where}: expected weights to start from, --from-scratch asks for random ones; give one of the two")
    if not run.exists() or (result := run.result()) is None:
        raise InputError(f"{where}: expected a complete run directory, found none; `debft mnli --output DIR` makes one")
    run.check_model(result)
    if not _same_place(there := run.recipe().model, model):
        raise InputError(f"{where}: expected a run of {model}, got one of {there}; give --model {there}")
    return replace(find_model(str(run.model), from_scratch=False), name=model)


def _num_sequences(task: Task, examples: Examples, files: ModelFiles, recipe: Recipe) -> int:
    """In an epoch: an example is one sequence, a question takes as many as its context has windows."""
    if not isinstance(task, QuestionAnswering):
        return len(examples)
    windows = encode_split(task, examples, build_tokenizer(files, task), recipe, what=task.train.name, show=is_main_process())
    if lost := unlearnable(windows, examples.labels):
        (row, tokens), more = lost[0], f" (and {len(lost) - 1:,} more)" if len(lost) > 1 else ""
        answer = f"{examples.source}: question {examples.ids[row]}: answers: expected an answer that"
        if not tokens:
            raise InputError(f"{answer} the model can read, got {examples.labels[row][0][0]!a}, of which no token is made{more}")
        raise InputError(
            f"{answer} lies whole in a window, got one of {tokens} tokens where windows share {recipe.questions.doc_stride}{more}; "
            f"it would be learned as no answer: give --set questions.doc_stride={max(t for _, t in lost)} or a larger "
            "--max-seq-length"
        )
    return len(windows)


def check_output(run: RunDirectory, recipe: Recipe, resume: bool) -> RunResult | None:
    """The result of a complete run, to return as it is.

    Raises InputError where `output` holds something else or cannot be written.
    """
    where = f"--output {run.path}"
    check_writable(run.path)
    if not run.occupied():
        return None
    if not run.exists():
        raise InputError(f"{where}: expected an empty directory or a run, got other files; choose another --output")
    if not resume:
        raise InputError(f"{where}: holds a run already; --resume continues it, or choose another --output")
    _check_same_run(where, run.recipe(), recipe)
    result = run.result()
    if result is not None:
        run.check_model(result)
    return result


def check_writable(output: Path) -> None:
    """Raises InputError where `output` is, or would lie in, something that is no directory or cannot be written."""
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()  # os.access trusts the mode, which a read-only or special file system ignores
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise DiskError(f"{existing}: cannot be written: {error.strerror}") from None
        raise InputError(
            f"--output {output}: expected a directory that can be written, got {existing} ({error.strerror}); choose another"
        ) from None


def _check_same_run(where: str, there: Recipe, here: Recipe) -> None:
    """Raises InputError naming the first thing that moves the score and differs."""
    for key in differing_keys(there, here, "resume"):
        old, new = value_at(there, key), value_at(here, key)
        if key not in ("model", "init_from", "data") or not _same_place(old, new):
            raise InputError(f"{where}: holds a different run: {key} is {old!r} there and {new!r} here; choose another --output")


def _same_place(one: str | None, other: str | None) -> bool:
    """Whether two names are one, or two spellings of one directory. An alias and a hub id are what they say."""
    if one == other:
        return True
    if None in (one, other) or one in SOURCES or other in SOURCES or not (os.path.isdir(one) and os.path.isdir(other)):
        return False
    return Path(one).samefile(other)


def describe(plan: Plan) -> None:
    """What is about to run, in a line or two; said before torch is imported."""
    recipe, task = plan.recipe, plan.task
    dev = " + ".join(f"{len(plan.examples[split.name]):,}" for split in task.evals[:MOST_SHOWN])
    if len(task.evals) > MOST_SHOWN:
        dev += f" + ... ({len(task.evals)} splits)"
    model = f"{recipe.model} from {recipe.init_from}" if recipe.init_from else recipe.model
    say(f"{task.name}   {model}   dialect {recipe.dialect}   data {recipe.data}   {len(plan.train):,} train   {dev} dev")
    if plan.files.packaged:
        say(f"{'configuration' if recipe.train.from_scratch else 'weights'} from the package {plan.files.revision}")
    if recipe.starts_from and not recipe.init_from:
        say(
            f"this run starts from the pre-trained model, the published one from the run of {recipe.starts_from}; it is not "
            f"compared. To start there: debft {recipe.starts_from.partition('/')[0]} --recipe {recipe.starts_from}, "
            "then --init-from its run"
        )
    if recipe.note:
        say(f"note on the recipe: {recipe.note}")
    for line in plan.remarks():
        say(line)
    if empty := sum(examples.empty_texts for examples in plan.examples.values()):
        say(f"{empty:,} empty texts in the data, kept")
    say_skipped(plan.examples)
