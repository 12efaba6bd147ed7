"""The options of the task commands in one list; those of `debft.finetune` are the same, with underscores.

An option that sets a key of the recipe takes type, choices and bounds from the field of that key. The value itself is checked by
the recipe (config/reading.py), so that a file, `--set`, an option and a keyword are held to the same.
"""

import types
import typing
from dataclasses import dataclass, fields
from typing import Any, Literal

from debft.config.recipe import MOST_RUNS, Recipe
from debft.errors import one_of

DEFAULT_MODEL = "deberta-v3-xsmall"
RUN, SCORE = "Run", "Score"  # the headings in --help: what moves no score, and what may
# The options that say how the processes of a run are started.
OF_LAUNCH = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "accelerate_config")
# The bounds in a field's metadata, with the words for --help.
BOUNDS = (("above", "above"), ("least", "at least"), ("below", "below"), ("most", "at most"))


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of the task commands says what is typed, what it sets, and how `--help` explains it."""

    name: str
    """The name of its parameter in Python."""
    key: str | None
    """The dotted key of the recipe that it sets, `train.learning_rate`; None for an option of the command alone."""
    kind: Any
    """The type of its value, without None."""
    flag: str
    """The word that is typed, `--learning-rate`; both words of a switch, `--sift/--no-sift`."""
    panel: str
    """The heading in `--help`."""
    help: str
    """The text in `--help`."""
    only_for: str | None = None
    """The one task whose command has it; None: every task command has it."""
    is_path: bool = False
    """Whether its value is a name or a path, which cannot be empty."""
    default: bool | None = None
    """The value where it is not typed; None leaves the matter to the recipe."""
    least: int | None = None
    """The smallest value, of an option of the command alone."""
    most: int | None = None
    """The largest value, of such an option."""

    @property
    def typed(self) -> str:
        """Return the word by which an error line names the option."""
        return self.flag.partition("/")[0]


def _of_recipe(key: str, panel: str, text: str, *, flag: str = "", only_for: str | None = None, is_path: bool = False) -> Option:
    """Make an option that sets `key`. Its flag is `--` and the last part of the key, unless `flag` is another one."""
    kind, limits = _field(key)
    if typing.get_origin(kind) is Literal:
        kind, limits = str, f"one of {one_of(typing.get_args(kind))}"
    if limits:
        text = f"{text} {limits[0].upper()}{limits[1:]}."
    name = key.rpartition(".")[2]
    flag = flag or f"--{name.replace('_', '-')}"
    return Option(name=name, key=key, kind=kind, flag=flag, panel=panel, help=text, only_for=only_for, is_path=is_path)


def of_command(name: str, kind: Any, panel: str, text: str, *, flag: str = "", **more: Any) -> Option:
    """Make an option that sets no key of the recipe. flag: where it is not `--` and the name; more: further fields of it"""
    flag = flag or f"--{name.replace('_', '-')}"
    return Option(name=name, key=None, kind=kind, flag=flag, panel=panel, help=text, **more)


def _field(key: str) -> tuple[Any, str]:
    """Return (type without None, bounds in words) of the field of a dotted key."""
    section, _, name = key.rpartition(".")
    owner = typing.get_type_hints(Recipe)[section] if section else Recipe
    kind = typing.get_type_hints(owner)[name]
    if isinstance(kind, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
    metadata = next(field.metadata for field in fields(owner) if field.name == name)
    limits = [f"{words} {metadata[bound]:g}" for bound, words in BOUNDS if metadata.get(bound) is not None]
    return kind, ", ".join(limits)


# In the order of --help.
OPTIONS = (
    _of_recipe(
        "model",
        RUN,
        f"Alias, hub id or directory of the model (default: the recipe's, else {DEFAULT_MODEL}, or demo for --data demo).",
        is_path=True,
    ),
    of_command(
        "recipe", str, RUN, "Name or YAML file of the recipe (default: the published one of this model and task).", is_path=True
    ),
    _of_recipe(
        "data",
        RUN,
        "Where the rows are: hub, demo or a directory (default: hub); for text a file, a directory or a hub id.",
        is_path=True,
    ),
    of_command("output", str, RUN, "Directory of the run (default: runs/TASK-MODEL/seed-SEED).", is_path=True),
    of_command(
        "resume",
        bool,
        RUN,
        "Continue the run in --output from its newest checkpoint; its options need not be typed.",
        default=False,
    ),
    of_command(
        "restart", bool, RUN, "Begin the run in --output anew, once all is checked; its options need not be typed.", default=False
    ),
    of_command("overwrite", bool, RUN, "Put another run in the place of that in --output, once all is checked.", default=False),
    of_command(
        "dry_run", bool, RUN, "Check everything, show the plan, time and memory by 10 steps in memory; write no run.", default=False
    ),
    of_command(
        "as_json",
        bool,
        RUN,
        "Print result.json on stdout, and nothing else there (of several runs summary.json, with --dry-run the plan).",
        flag="--json",
        default=False,
    ),
    of_command(
        "seeds",
        int,
        RUN,
        "Run this many seeds, from --seed on, each into OUTPUT/seed-N; show mean, spread and interval.",
        least=1,
        most=MOST_RUNS,
    ),
    of_command(
        "jobs", int, RUN, "Runs of --seeds or --folds at a time (default: one per GPU, else 1; demo: one per core).", least=1
    ),
    of_command(
        "num_processes",
        int,
        RUN,
        "Processes of the run, over all machines (default: 1; of several machines, one per GPU).",
        least=1,
    ),
    of_command("num_machines", int, RUN, "Machines of the run, each of which is given the same command (default: 1).", least=1),
    of_command("machine_rank", int, RUN, "Number of this machine; 0 holds the run.", least=0),
    of_command("main_process_ip", str, RUN, "Address of machine 0, at which the others reach it."),
    of_command("main_process_port", int, RUN, "Port of machine 0 (default: 29500).", least=1),
    of_command(
        "accelerate_config",
        str,
        RUN,
        "File of `accelerate config`, for its machines and processes; the options above go before it.",
        is_path=True,
    ),
    _of_recipe("runtime.precision", RUN, "Precision of the matrix products."),
    _of_recipe("runtime.attention", RUN, "What computes the attention (default: the fastest that is there)."),
    _of_recipe("runtime.save_steps", RUN, "Optimizer steps from one checkpoint to the next."),
    _of_recipe("runtime.check_leaks", RUN, "Name rows that are scored and nearly the same as a training row."),
    _of_recipe("runtime.report_to", RUN, "Trackers to log to, such as tensorboard or wandb,mlflow (default: none)."),
    _of_recipe("own.text_columns", RUN, "Column of the texts, or A,B for pairs (default: found in the file).", only_for="text"),
    _of_recipe("own.label_column", RUN, "Column of the labels (default: found in the file).", only_for="text"),
    _of_recipe("own.problem", RUN, "What the labels are; auto finds out from the file.", only_for="text"),
    _of_recipe(
        "own.label_separator", RUN, "What stands between the labels of a cell, such as '|' (default: one label).", only_for="text"
    ),
    _of_recipe(
        "own.split_column", RUN, "Column that says train, validation or test (default: found in the file).", only_for="text"
    ),
    _of_recipe("own.subset", RUN, "Configuration of a data set from the hub.", only_for="text"),
    _of_recipe("own.encoding", RUN, "Encoding of text files, such as cp1252 (default: UTF-8).", only_for="text"),
    _of_recipe(
        "own.validation",
        SCORE,
        "Share of the training rows that is held out for validation (default: 0.1 where the data has no validation rows).",
        only_for="text",
    ),
    _of_recipe("own.test", SCORE, "Share of the training rows that is held out as a test split (default: none).", only_for="text"),
    _of_recipe("own.split_seed", SCORE, "Seed of what is held out and of the folds (default: 42).", only_for="text"),
    _of_recipe(
        "own.folds",
        SCORE,
        "Cut the training rows into so many folds and run once for each, into OUTPUT/fold-N; score every row.",
        only_for="text",
    ),
    _of_recipe("init_from", SCORE, "Start from the weights of this run; RUN@STEP: of its checkpoint.", is_path=True),
    of_command(
        "sift",
        bool,
        SCORE,
        "Train adversarially (SiFT) with the published strength, or do not (default: as the recipe has it).",
        flag="--sift/--no-sift",
    ),
    _of_recipe("train.seed", SCORE, "Seed of the head's weights, the data order and dropout."),
    _of_recipe("train.from_scratch", SCORE, "Start from random weights, as the model's config.json has them."),
    _of_recipe("train.max_steps", SCORE, "Optimizer steps in all; the schedule ends there."),
    _of_recipe("train.max_train_samples", SCORE, "Rows of the training split to use, the first ones."),
    _of_recipe("train.max_eval_samples", SCORE, "Rows of each eval split to use, the first ones."),
    _of_recipe("train.skip_bad_rows", SCORE, "Leave out bad rows; they are counted, and the first ones named."),
    _of_recipe("train.learning_rate", SCORE, "Highest learning rate, at the end of the warm-up."),
    _of_recipe("train.num_train_epochs", SCORE, "Passes over the training data."),
    _of_recipe("train.train_batch_size", SCORE, "Sequences per optimizer step, over all devices."),
    _of_recipe("train.warmup_steps", SCORE, "Optimizer steps of the warm-up; a number below 1 is that fraction of the run."),
    _of_recipe("train.class_weight", SCORE, "What rare labels count for in the loss: none, balanced or LABEL=WEIGHT,..."),
    _of_recipe("train.weight_decay", SCORE, "Weight decay of everything but biases and LayerNorm weights."),
    _of_recipe("text.max_seq_length", SCORE, "Tokens of the longest input, special tokens included."),
    _of_recipe("text.long_texts", SCORE, "What is done with a text that is longer than --max-seq-length.", only_for="text"),
    _of_recipe("train.eval_steps", SCORE, "Optimizer steps from one evaluation to the next."),
    _of_recipe("train.patience", SCORE, "Evaluations without a better score after which training ends; the best weights are kept."),
    _of_recipe(
        "train.metric", SCORE, "Metric that the kept weights are best by, loss included (default: the mean of the task's metrics)."
    ),
    _of_recipe("train.layerwise_lr_decay", SCORE, "Factor of the learning rate from each layer to the one below it."),
    _of_recipe("languages.train_language", SCORE, "Language to train on (default: en).", only_for="xnli"),
    _of_recipe(
        "languages.eval_languages",
        SCORE,
        "Languages to evaluate, such as fr,de (default: all 15).",
        flag="--language",
        only_for="xnli",
    ),
    of_command(
        "assignments",
        list[str],
        SCORE,
        "Set any other key of the recipe, such as train.adam_epsilon=1e-6 (repeatable).",
        flag="--set",
    ),
)


def options_of(task: str) -> list[Option]:
    """Return the options that the command of `task` has."""
    return [option for option in OPTIONS if option.only_for in (None, task)]
