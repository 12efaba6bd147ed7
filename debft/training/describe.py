"""A person reads here about a run before it trains: the words for the facts of a plan, the device and the texts' lengths."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.config.differences import differing_keys
from debft.config.packaged import recipe_names, recipe_path
from debft.config.plausible import implausible
from debft.config.reading import load_recipe
from debft.config.recipe import OwnConfig, Recipe, window_stride
from debft.console import say, say_field
from debft.data.encoding import EncodedSplit
from debft.data.examples import say_notes, say_skipped
from debft.data.own_rows import OwnRows
from debft.data.sources.own import quoted
from debft.models.settings import THRESHOLDS
from debft.models.tokens.tokenizer import token_file
from debft.runs.result import HeldOut, Lengths
from debft.runtime.devices import device_name, visible_gpus
from debft.tasks import Task, TextClassification
from debft.tasks.titles import task_title
from debft.training.choice import in_words as best_in_words
from debft.training.choice import patience_in_words
from debft.training.class_weights import in_words
from debft.training.plan import Plan

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST_SHOWN = 8  # labels or splits in one line


def describe(plan: Plan) -> None:
    """Print what is about to run, before torch is imported."""
    recipe, task = plan.recipe, plan.task
    say_field("task", f"{task_title(task.name)}: {', '.join(task.text_keys)} -> {_outputs(task)}")
    say_field("model", f"{recipe.model} from {recipe.init_from}" if recipe.init_from else recipe.model or "")
    if plan.files.packaged:
        say_field("", f"{'configuration' if recipe.train.from_scratch else 'weights'} from the package {plan.files.revision}")
    say_field("recipe", recipe_in_words(recipe))
    rows = [f"{len(plan.examples[split.name]):,} {split.name}" for split in task.splits]
    say_field("data", f"{recipe.data}: {_some(rows)} rows")
    if recipe.starts_from and not recipe.init_from:
        say(
            f"this run starts from the pre-trained model, the published one from the run of {recipe.starts_from}; it is not "
            f"compared. To start there: debft {recipe.starts_from.partition('/')[0]} --recipe {recipe.starts_from}, "
            "then --init-from its run"
        )
    if recipe.note:
        say_field("note", recipe.note)
    say_notes(plan.examples.values())
    for line in remarks(plan):
        _say_remark(line)
    say_skipped(plan.examples)
    if recipe.data == "demo":
        say("demo rows are made of few words: many recur, also among those that are scored")
    for warning in (*plan.warnings, *implausible(recipe)):
        say(f"warning: {warning}")
    config = recipe.train
    passes = "" if config.max_steps is not None else f" ({config.num_train_epochs:g} epochs)"
    say_field(
        "training",
        f"{plan.total_steps:,} steps of {config.train_batch_size} sequences{passes}, learning rate {config.learning_rate:g}, "
        f"texts of up to {recipe.text.max_seq_length} tokens, seed {config.seed}",
    )
    if config.metric is not None or config.patience is not None:
        ends = f"; training ends after {patience_in_words(config.patience)}" if config.patience else ""
        say_field("best", f"the weights with the {best_in_words(task, config)} are kept{ends}")


def _outputs(task: Task) -> str:
    """Return what the model gives, with the first names of many labels."""
    if not isinstance(task, TextClassification) or task.is_regression:
        return task.gives
    return f"{'any of ' if task.multilabel else ''}{_some(list(task.labels))}"


def _say_remark(line: str) -> None:
    """Print a remark, as a labelled line where it begins with a word and a gap."""
    label, gap, text = line.partition("   ")
    say_field(label, text) if gap and label.isalpha() else say(line)


def recipe_in_words(recipe: Recipe) -> str:
    """Name the packaged recipe, the keys in which this one differs, and where its hyper-parameters come from."""
    name, changed = nearest_packaged(recipe)
    parts = [name or "your own"] + ([f"changed: {_some(changed)}"] if changed else [])
    source = recipe.source or ""
    if source and not source.startswith("ours"):
        source = f"published: {source}"
    elif (name or "").endswith("default") and recipe.task != "text":
        source = f"no recipe of {recipe.model} was published; {source}"
    return "; ".join(parts) + (f" ({source})" if source else "")


def nearest_packaged(recipe: Recipe) -> tuple[str | None, list[str]]:
    """Return the packaged recipe that a run's recipe was made of, and the keys that were changed; (None, []) for the user's own."""
    near = {}
    for name in recipe_names():
        if name.partition("/")[0] in (recipe.task, name):
            packaged = load_recipe(recipe_path(name))
            same = (packaged.source, packaged.reproduces, packaged.dialect) == (recipe.source, recipe.reproduces, recipe.dialect)
            if same and packaged.model in (None, recipe.model):
                near[name] = differing_keys(packaged, recipe, "repeat")
    return min(near.items(), key=lambda pair: len(pair[1]), default=(None, []))


def describe_device(plan: Plan, accelerator: "Accelerator", precision: str, attention: str) -> None:
    """Print where and how the plan runs. precision, attention: with a remark behind them where there is one."""
    kernels = ", deterministic kernels" if plan.recipe.runtime.deterministic else ""
    device = f"{device_name(accelerator.device)} x {accelerator.num_processes}"
    if plan.recipe.runtime.shard:
        others = accelerator.num_processes - 1
        say_field("sharded", f"over {others + 1} processes" if others else "not at all: one process holds the whole model")
    say_field("device", f"{device}, {precision}, attention {attention}{kernels}, tokens of {token_file(plan.files)}")
    if accelerator.num_processes == 1 and (gpus := visible_gpus()) > 1:
        say(
            f"one of {gpus} GPUs is used: --num-processes {gpus} takes all, which by our estimate pays for steps of many tokens; "
            "--seeds and debft reproduce give each GPU a run of its own"
        )


def with_remark(word: str, remark: str) -> str:
    """Return the word, with the remark in brackets where there is one."""
    return f"{word} ({remark})" if remark else word


def describe_lengths(plan: Plan, splits: dict[str, EncodedSplit]) -> None:
    """Print how long the texts are, of each split where there are few, and what was cut."""
    for name, split in splits.items():
        of_split = lengths_of(split)
        if len(splits) <= MOST_SHOWN or name == plan.task.train.name or split.remarks():
            lengths = f"{name}: median {of_split.median} tokens, 95 % up to {of_split.p95}, longest {of_split.longest}"
            say_field("lengths", "; ".join([lengths, *split.remarks()]))
    if plan.task.name == "text" and plan.recipe.text.long_texts == "cut" and splits[plan.task.train.name].truncated:
        say("--long-texts windows reads long texts whole, a larger --max-seq-length more of them")


def lengths_of(split: EncodedSplit) -> Lengths:
    """Return the lengths of the inputs of a split."""
    median, p95, longest = np.percentile(split.lengths(), (50, 95, 100)).astype(int).tolist()
    return Lengths(median=median, p95=p95, longest=longest, cut=split.truncated, uncut=split.longest)


def remarks(plan: Plan) -> list[str]:
    """Return lines on what the data decided: columns, labels and how many rows of each, where the rows come from."""
    task, lines = plan.task, []
    if task.name == "text":
        texts = f"text{'s' * (len(task.text_keys) > 1)}: {', '.join(map(quoted, task.text_keys))}"
        lines.append(f"columns   {texts}   label: {quoted(task.label_key)}")
        if plan.own is not None and plan.own.held_out is not None and plan.recipe.own.fold is None:
            lines.append(f"split   {_held_out_in_words(plan.own, plan.own.held_out, plan.recipe.own)}")
        if plan.recipe.own.fold is not None:
            lines.append(f"fold {plan.recipe.own.fold} of {plan.recipe.own.folds} is scored, the others are trained on")
        if plan.unused_columns:
            lines.append(f"not read: {_some([quoted(name) for name in plan.unused_columns])}")
    if task.name == "xnli":
        lines.append(f"train on {plan.train.source}")
        if plan.absent_languages:
            evaluated = dict.fromkeys(split.config for split in task.evals)
            lines.append(f"no rows of {', '.join(plan.absent_languages)}: evaluated on {', '.join(evaluated)}")
    if isinstance(task, TextClassification):
        if plan.windows:
            text, rows = plan.recipe.text, [f"{number} {count:,}" for number, count in plan.windows.items()]
            how = f"{text.max_seq_length} tokens each, {window_stride(text)} of them shared; outputs pooled by {text.pooling}"
            lines.append(f"windows per row   {_some(rows, '   ')}   ({how})")
        lines += _label_remarks(plan)
        lines += _eval_remarks(plan, task)
    return lines


def _held_out_in_words(rows: OwnRows, held_out: HeldOut, own: OwnConfig) -> str:
    """Say what was held out of the training rows, and how."""
    parts = [f"{name} {share:.0%} ({len(rows.ids[name]):,})" for name, share in held_out.shares.items()]
    is_usual = own.validation is None and "validation" in held_out.shares
    usual = "; another share for validation: --validation" if is_usual else ""
    strata = "tenths of the scores" if rows.task.is_regression else "label"
    return (
        f"{' and '.join(parts)} of {held_out.of:,} rows held out by {strata}, those with the same text together, "
        f"seed {held_out.seed}{usual}"
    )


def _label_remarks(plan: Plan) -> list[str]:
    """Return lines on the labels with the number of training rows of each, or on the scores, and on what is odd about them."""
    if plan.score_range is not None:
        lowest, mean, highest = plan.score_range
        return [f"scores {lowest:g} to {highest:g}, mean {mean:.2f}"]
    counts, own = plan.label_counts, plan.task.name == "text"
    lines = ["   ".join(["labels", _some([f"{label} {count:,}" for label, count in counts.items()], "   ")])]
    if plan.labels_per_row:
        rows = [f"{number or 'none'} {count:,}" for number, count in plan.labels_per_row.items()]
        lines.append("   ".join(["labels per row", _some(rows, "   ")]))
    elif own and plan.recipe.own.problem == "auto" and len(counts) > 2 and all(map(str.isdecimal, counts)):
        lines[0] += "   (whole numbers are labels; --problem regression makes them a score)"
    alike = Counter(map(str.casefold, counts)) if own else {}
    if same := [label for label in counts if alike.get(label.casefold(), 1) > 1]:
        lines.append(f"labels that differ in case alone: {_some(same)}")
    if plan.class_weights:
        what = "class weights of rows with / without the label" if plan.labels_per_row else "class weights"
        line = "   ".join([what, _some(in_words(plan.class_weights), "   ")])
        lines.append(f"{line}   ({plan.recipe.train.class_weight}; the mean over the training rows is 1)")
    if none := [label for label, count in counts.items() if not count]:
        first = f" in the first {len(plan.train):,}" if plan.recipe.train.max_train_samples is not None else ""
        lines.append(f"no training row{first} is labelled {_some(none)}: the model cannot learn it")
    return lines


def _eval_remarks(plan: Plan, task: TextClassification) -> list[str]:
    """Return lines on eval splits whose rows all have one label or score, so that several metrics mean nothing, and on those that
    choose thresholds and lack a label."""
    first = "the first " if plan.recipe.train.max_eval_samples is not None else ""
    lines = [
        f"{name}: all of {first}{len(plan.examples[name]):,} rows are labelled {label}; its scores say little"
        for name, label in plan.uniform_labels.items()
    ]
    for split in task.selection_evals if task.multilabel else ():
        count_C = plan.examples[split.name].label_array.sum(axis=0).tolist()
        if lacking := [label for label, count in zip(task.labels, count_C, strict=True) if not count]:
            lines.append(f"{split.name}: no row is labelled {_some(lacking)}: its threshold stays 0.5")
    return lines


def describe_chosen(chosen: Mapping[str, Any]) -> None:
    """Print what was chosen on dev data and is saved with the model, where it is a threshold for each label."""
    if thresholds := chosen.get(THRESHOLDS):
        say_field("thresholds", _some([f"{label} {number:.3g}" for label, number in thresholds.items()], "   "))


def _some(names: list[str], between: str = ", ") -> str:
    """Return the first names, and how many there are in all where that is not all of them."""
    more = [f"... ({len(names)} in all)"] if len(names) > MOST_SHOWN else []
    return between.join([*names[:MOST_SHOWN], *more])
