"""Everything about a run that can be known, and wrong, before weights are loaded."""

import os
import tempfile
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from debft.checks import check_recipe, check_schedule
from debft.data import SOURCES, encode_split, load_table, task_for
from debft.data.checks import Examples, check_rows
from debft.data.own import quoted
from debft.errors import InputError
from debft.launch import is_main_process
from debft.models import ModelFiles, build_tokenizer, check_model_name, find_model, longest_input, read_config
from debft.progress import say
from debft.recipe import Recipe, TrainConfig
from debft.results import RunDirectory, RunResult
from debft.tasks import QuestionAnswering, Task, TextClassification

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
        if task.name == "xnli":
            lines.append(f"train on {self.train.source}")
        if isinstance(task, TextClassification):
            lines.append(self._labels())
        return lines

    def _labels(self) -> str:
        labels_N = self.train.labels
        if self.task.is_regression:
            asked = self.task.name != "text" or self.recipe.train.problem != "auto" or (labels_N != np.round(labels_N)).any()
            advice = "" if asked else "   (whole numbers; --problem classification makes them labels)"
            return f"scores {labels_N.min():g} to {labels_N.max():g}, mean {labels_N.mean():.2f}{advice}"
        counts = np.bincount(labels_N, minlength=len(self.task.labels))
        shown = [f"{label} {count:,}" for label, count in zip(self.task.labels, counts, strict=True)]
        return "   ".join(["labels", *shown[:MOST_SHOWN], *([f"... ({len(shown)} in all)"] if len(shown) > MOST_SHOWN else [])])

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        return {name: examples.fingerprint() for name, examples in self.examples.items()}

    @property
    def skipped_rows(self) -> dict[str, int]:
        return {name: len(examples.skipped) for name, examples in self.examples.items()}


def make_plan(recipe: Recipe) -> Plan:
    """Check recipe, model files and every row of the data. Raises InputError; touches no weights, writes no run."""
    check_recipe(recipe)
    config = recipe.train
    task = task_for(recipe)
    if config.checkpoint == "best" and not task.selection_evals:
        raise InputError(
            f"train.checkpoint: best needs {task.selection[0]} to choose by; add {config.train_language} to --language, "
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
    if longest is not None and config.max_seq_length > longest:
        raise InputError(
            f"train.max_seq_length: expected at most the {longest} positions of {files.name}, got {config.max_seq_length}"
        )
    num_sequences = _num_sequences(task, examples[task.train.name], files, config)
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
    if not run.exists() or run.result() is None:
        raise InputError(f"{where}: expected a complete run directory, found none; `debft mnli --output DIR` makes one")
    if (there := run.recipe().model) != model:
        raise InputError(f"{where}: expected a run of {model}, got one of {there}; give --model {there}")
    return replace(find_model(str(run.model), from_scratch=False), name=model)


def _num_sequences(task: Task, examples: Examples, files: ModelFiles, config: TrainConfig) -> int:
    """In an epoch: an example is one sequence, a question takes as many as its context has windows."""
    if not isinstance(task, QuestionAnswering):
        return len(examples)
    return len(encode_split(task, examples, build_tokenizer(files), config, what=task.train.name, show=is_main_process()))


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
    if result is not None and not (run.model / "config.json").is_file():
        raise InputError(f"{where}: the run is complete but its model/ is gone; choose another --output")
    return result


def check_writable(output: Path) -> None:
    """Raises InputError where `output` is, or would lie in, something that is no directory or cannot be written."""
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()  # os.access trusts the mode, which a read-only or special file system ignores
    except OSError as error:
        raise InputError(
            f"--output {output}: expected a directory that can be written, got {existing} ({error.strerror}); choose another"
        ) from None


def _check_same_run(where: str, there: Recipe, here: Recipe) -> None:
    """Raises InputError naming the first thing that moves the score and differs."""
    pairs = [("task", there.task, here.task), ("model", there.model, here.model), ("init_from", there.init_from, here.init_from)]
    pairs.append(("data", *(r.data if r.data in SOURCES else os.path.realpath(r.data) for r in (there, here))))
    for section in ("train", "sift"):
        old, new = getattr(there, section), getattr(here, section)
        pairs += [(f"{section}.{f.name}", getattr(old, f.name), getattr(new, f.name)) for f in fields(new)]
    for name, old, new in pairs:
        if old != new:
            raise InputError(f"{where}: holds a different run: {name} is {old!r} there and {new!r} here; choose another --output")


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


def say_skipped(examples: dict[str, Examples]) -> None:
    """One line per split that rows were left out of: how many, which and why."""
    for name, kept in examples.items():
        if kept.skipped:
            say(f"{name}: {kept.skipped}")
