"""The plan of a run holds everything that can be known, and be wrong, before weights are loaded."""

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from debft.config.recipe import SOURCES, Recipe, with_values
from debft.data.examples import Examples, label_in_words
from debft.data.load import absent_languages, encode_split, load_examples, task_for
from debft.data.own_rows import OwnRows, own_rows, record_of
from debft.data.row_warnings import row_warnings
from debft.data.text_windows import EncodedTextWindows
from debft.data.windows import EncodedWindows, unlearnable
from debft.errors import InputError
from debft.models.files import ModelFiles, find_model
from debft.models.json_files import read_config
from debft.models.names import check_model_name
from debft.models.pins import check_pinned, weight_digests
from debft.models.positions import longest_input
from debft.models.tokens.tokenizer import build_tokenizer
from debft.models.tokens.words import reads_word_by_word
from debft.runs.directory import RunDirectory
from debft.runs.result import RowWarning
from debft.runtime.launch.group import is_main_process
from debft.runtime.progress import activity
from debft.runtime.tracker_names import check_installed
from debft.tasks import TEXT, QuestionAnswering, Task, TextClassification, task_of
from debft.tasks.rules import check_recipe
from debft.training.choice import check_choice, check_rhythm
from debft.training.class_weights import class_weights
from debft.training.place import same_place
from debft.training.schedule import check_schedule


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan is checked: recipe, model files and every row of the data.

    recipe: what is asked for.
    task: the task, with the columns, labels and eval splits that the data has.
    files: the files that training starts from.
    examples: the rows, by the name of their split.
    num_sequences: sequences that are trained on in an epoch; a question, or a long text, may take several.
    total_steps: optimizer steps of the whole run.
    own: how the user's own rows came to their splits, without the rows; None for other tasks.
    class_weights: what a training row counts for in the loss, by label; {} where all count alike.
    windows: how many training rows take 1, 2, ... windows; {} where each row is one sequence.
    """

    recipe: Recipe
    task: Task
    files: ModelFiles
    examples: dict[str, Examples]
    num_sequences: int
    total_steps: int
    own: OwnRows | None = None
    class_weights: dict[str, Any] = field(default_factory=dict)
    windows: dict[int, int] = field(default_factory=dict)

    @cached_property
    def weights(self) -> dict[str, str]:
        """Return the sha256 of each file of weights that the run begins from, which are read for it; {} where they are random.

        Raises InputError where those of an alias are not the pinned ones.
        """
        if self.recipe.train.from_scratch:
            return {}
        with activity("reading the weights", show=is_main_process()):
            if self.files.checkpoint is not None:
                return weight_digests(self.files.checkpoint)
            if self.files.revision is not None and not self.files.packaged:
                check_pinned(self.files.name, self.files.path, largest=None)
            return weight_digests(self.files.path)

    @property
    def train(self) -> Examples:
        """Return the rows that are trained on."""
        return self.examples[self.task.train.name]

    def let_go_of_texts(self) -> None:
        """Keep of the training rows what is known of them, without the texts: once they are encoded nothing reads them."""
        _ = self.warnings  # which are of the texts
        self.examples[self.task.train.name] = self.train.without_texts()

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Return the columns of the user's own data that are not read, where the recipe does not name those that are."""
        return tuple(self.train.unused) if self.task.name == "text" and self.recipe.own.text_columns is None else ()

    @property
    def absent_languages(self) -> tuple[str, ...]:
        """Return the languages that the recipe evaluates and the data lacks."""
        return tuple(absent_languages(task_of(self.task.name, self.recipe.languages), self.task.evals))

    @cached_property
    def label_counts(self) -> dict[str, int]:
        """Return the number of training rows of each label; {} for a task without labels."""
        if not isinstance(self.task, TextClassification) or self.task.is_regression:
            return {}
        if self.task.multilabel:
            counts = self.train.label_array.sum(axis=0).astype(np.int64)
        else:
            counts = np.bincount(self.train.label_array, minlength=len(self.task.labels))
        return dict(zip(self.task.labels, counts.tolist(), strict=True))

    @cached_property
    def score_range(self) -> tuple[float, float, float] | None:
        """Return (lowest, mean, highest) score of the training rows of a regression, None for other tasks."""
        if not isinstance(self.task, TextClassification) or not self.task.is_regression:
            return None
        scores_N = self.train.label_array
        return float(scores_N.min()), float(scores_N.mean()), float(scores_N.max())

    @cached_property
    def uniform_labels(self) -> dict[str, str]:
        """Return the only label or score of each eval split that has several rows and no other label."""
        if not isinstance(self.task, TextClassification):
            return {}
        labels = {split.name: self.examples[split.name].label_array for split in self.task.evals}
        uniform = {name: labels_N[0] for name, labels_N in labels.items() if len(labels_N) > 1 and (labels_N == labels_N[0]).all()}
        return {name: label_in_words(one, self.task) for name, one in uniform.items()}

    @cached_property
    def labels_per_row(self) -> dict[int, int]:
        """Return how many training rows have 0, 1, 2, ... labels, in this order; {} where each has one."""
        if not isinstance(self.task, TextClassification) or not self.task.multilabel:
            return {}
        rows = np.bincount(self.train.label_array.sum(axis=1).astype(np.int64))
        return {number: int(count) for number, count in enumerate(rows) if count}

    @cached_property
    def warnings(self) -> list[RowWarning]:
        """Return what is odd about the rows, taken together. The demo's are made of few words, so that many recur by design."""
        if self.recipe.data == "demo" and not self.recipe.runtime.check_leaks:
            return []
        giveaways, near = self.own.giveaways if self.own is not None else (), self.recipe.runtime.check_leaks
        return row_warnings(self.task, self.examples, self.label_counts, giveaways=giveaways, near=near)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of the rows, by split."""
        return {name: examples.fingerprint() for name, examples in self.examples.items()}

    @property
    def rows_record(self) -> dict[str, Any]:
        """Return what a run writes of its rows: the source as it was typed, the whole path where it is one, and what was held out.

        The path is in the run directory alone: neither the recipe nor the model has it, which may be given away.
        """
        source = self.recipe.data
        held_out = record_of(self.own) if self.own is not None else {}
        path = str(Path(source).absolute()) if source not in SOURCES and Path(source).exists() else None
        return {"data": source, "path": path, "held_out": held_out or None}

    @property
    def skipped_rows(self) -> dict[str, int]:
        """Return the number of bad rows that were skipped, by split."""
        return {name: len(examples.skipped) for name, examples in self.examples.items()}


def make_plan(recipe: Recipe, source: str | None = None) -> Plan:
    """Check recipe, model files and every row of the data. Raises InputError; touches no weights, writes no run.

    source: where the rows are read, None where the recipe has it
    """
    check_recipe(recipe)
    check_installed(recipe.runtime.report_to)
    config, read = recipe.train, with_values(recipe, {"data": source or recipe.data})
    own = own_rows(read) if recipe.task == TEXT.name else None
    task = own.task if own is not None else task_for(read)
    check_choice(task, recipe)
    check_model_name(recipe.model or "")
    examples = own.examples if own is not None else load_examples(task, read)
    weights = class_weights(config.class_weight, task, examples[task.train.name].labels)
    files = _find_weights(recipe)
    longest = longest_input(read_config(files.path))
    if longest is not None and recipe.text.max_seq_length > longest:
        raise InputError(
            f"text.max_seq_length: expected at most the {longest} positions of {files.name}, got {recipe.text.max_seq_length}"
        )
    windows = _windows(task, examples[task.train.name], files, recipe)
    num_sequences = sum(number * rows for number, rows in windows.items()) or len(examples[task.train.name])
    total_steps = check_schedule(config, num_sequences)
    check_rhythm(config, total_steps, num_sequences)
    return Plan(
        recipe=recipe,
        task=task,
        files=files,
        examples=examples,
        num_sequences=num_sequences,
        total_steps=total_steps,
        own=own and replace(own, examples={}),
        class_weights=weights,
        windows=windows,
    )


def _find_weights(recipe: Recipe) -> ModelFiles:
    """Find the files that training starts from: the model's, or those of the run in `init_from`."""
    model = recipe.model or ""
    if recipe.init_from is None:
        return find_model(model, recipe.train.from_scratch)
    where, (run, step) = f"--init-from {recipe.init_from}", RunDirectory.at_step(recipe.init_from)
    if recipe.train.from_scratch:
        raise InputError(f"{where}: expected weights to start from, --from-scratch asks for random ones; give one of the two")
    if step is not None:
        return _find_checkpoint(where, run, step, model)
    if not run.exists() or (result := run.result()) is None:
        newest = max(run.saved_steps(), default=None) if run.exists() else None
        advice = "`debft mnli --output DIR` makes one" if newest is None else f"{where}@{newest} starts from its newest checkpoint"
        raise InputError(f"{where}: expected a complete run directory, found none; {advice}")
    run.check_model(result)
    _check_model_of_run(where, run, model)
    return replace(find_model(str(run.model), from_scratch=False), name=model)


def _find_checkpoint(where: str, run: RunDirectory, step: int, model: str) -> ModelFiles:
    """Return the files of the model that a run began with, with the weights of its checkpoint of a step."""
    if not run.exists():
        raise InputError(f"{where}: expected a run directory before the @, found none in {run.path}")
    saved = run.saved_steps()
    if step not in saved:
        steps = ", ".join(f"{one:,}" for one in saved) or "none"
        raise InputError(f"{where}: expected a step with a checkpoint, got {step:,}; there are checkpoints of {steps}")
    _check_model_of_run(where, run, model)
    labels = run.state_of(saved[step]).get("labels")
    if not isinstance(labels, list):
        raise InputError(f"{where}: the checkpoint is of an older debft, which names no labels; take the model of a complete run")
    return replace(find_model(model, from_scratch=True), checkpoint=saved[step], labels=tuple(map(str, labels)))


def _check_model_of_run(where: str, run: RunDirectory, model: str) -> None:
    """Raise InputError for a run of another model."""
    if not same_place(trained := run.recipe().model, model):
        raise InputError(f"{where}: expected a run of {model}, got one of {trained}; give --model {trained}")


def _windows(task: Task, examples: Examples, files: ModelFiles, recipe: Recipe) -> dict[int, int]:
    """Return how many rows take 1, 2, ... windows; {} where each row is one sequence.

    Raises InputError for an answer that lies whole in no window.
    """
    if not isinstance(task, QuestionAnswering) and recipe.text.long_texts == "cut":
        return {}
    tokenizer, show = build_tokenizer(files, task), is_main_process()
    by_word = partial(reads_word_by_word, tokenizer.backend_tokenizer)
    split = encode_split(task, examples, tokenizer, recipe, what=task.train.name, by_word=by_word, show=show)
    if isinstance(split, EncodedWindows):
        _check_answers_lie_in_windows(split, examples, recipe)
        counts_N = np.bincount(split.question_W)
    else:
        assert isinstance(split, EncodedTextWindows), "long texts are windows"
        counts_N = split.windows_of_rows()
    rows = np.bincount(counts_N)
    return {number: int(count) for number, count in enumerate(rows) if number and count}


def _check_answers_lie_in_windows(windows: EncodedWindows, examples: Examples, recipe: Recipe) -> None:
    """Raise InputError for an answer that lies whole in no window: it would be learned as none."""
    if lost := unlearnable(windows, examples.gold_answers):
        (row, tokens), more = lost[0], f" (and {len(lost) - 1:,} more)" if len(lost) > 1 else ""
        answer = f"{examples.source}: question {examples.ids[row]}: answers: expected an answer that"
        if not tokens:
            raise InputError(
                f"{answer} the model can read, got {examples.gold_answers[row][0][0]!a}, of which no token is made{more}"
            )
        raise InputError(
            f"{answer} lies whole in a window, got one of {tokens} tokens where windows share {recipe.questions.doc_stride}{more}; "
            f"it would be learned as no answer: give --set questions.doc_stride={max(t for _, t in lost)} or a larger "
            "--max-seq-length"
        )
