"""A model card that is evidence: what was trained, on which rows, how, how good it is, and what is not known."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from debft.config.recipe_hash import recipe_hash
from debft.output.card.licences import UNKNOWN, data_licences, model_licence
from debft.output.card.results import eval_results, pipeline_tag
from debft.output.card.subject import Subject
from debft.output.pages.templates import shown
from debft.output.text import DASH, escaped, interval_text, score_text, signed
from debft.runs.result import ComparedScore, in_percent
from debft.tasks import TEXT, QuestionAnswering, TextClassification
from debft.tasks.titles import score_title, task_title

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData

HERE = "path/to/this/directory"
MOST_CLASSES = 60
_TRUSTED = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "python")


def model_card(subject: Subject, *, license_name: str | None = None, repository: str | None = None) -> "ModelCard":
    """Return the card of a run. repository: where it will be, for the examples of use."""
    from huggingface_hub import ModelCard
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    templates.filters["escaped"] = lambda value: escaped(str(value))
    data = _metadata(subject, license_name or UNKNOWN, repository)
    body = templates.get_template("card.md.j2").render(_content(subject, license_name, repository or HERE))
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _metadata(subject: Subject, license_name: str, repository: str | None) -> "ModelCardData":
    """Return the fields that the hub reads."""
    from huggingface_hub import ModelCardData

    results = eval_results(subject)
    return ModelCardData(
        license=license_name,
        library_name="transformers",
        pipeline_tag=pipeline_tag(subject),
        base_model=subject.base_model,
        datasets=[subject.dataset] if subject.dataset else None,
        metrics=sorted({result.metric_type for result in results}) or None,
        tags=["debft", subject.task.name, *(["demo"] if subject.is_demo else [])],
        model_name=(repository or subject.name).rpartition("/")[2],
        eval_results=results or None,
    )


def _content(subject: Subject, license_name: str | None, place: str) -> dict[str, Any]:
    """Return what the template is filled with."""
    result, task = subject.result, subject.task
    weights = (result.model_files or {}).get("model.safetensors")
    return {
        "title": f"{subject.name}: {task_title(task.name)}" if task.name != TEXT.name else subject.name,
        "subject": subject,
        "result": result,
        "task": task,
        "base": subject.base_model or ("random weights" if subject.recipe.train.from_scratch else result.model),
        "labels": list(task.labels) if isinstance(task, TextClassification) else [],
        "hash": recipe_hash(subject.recipe),
        "recipe": yaml.safe_dump(subject.shown_recipe, sort_keys=False, allow_unicode=True).rstrip(),
        "scores": _scores(subject),
        "weights": weights,
        "versions": [(name, result.environment[name]) for name in ("debft", "code", *_TRUSTED) if result.environment.get(name)],
        "limits": _limits(subject),
        "processes": f"{(count := result.environment.get('num_processes', 1))} process{'' if count == 1 else 'es'}",
        "thresholds": _thresholds(subject),
        "licences": data_licences(task.name, task.dataset, demo=result.data.source == "demo"),
        "base_licence": model_licence(subject.base_model),
        "license_name": license_name,
        "classes": _classes(subject),
        "place": place,
        "pair": len(task.text_keys) > 1,
        "questions": isinstance(task, QuestionAnswering),
        "max_length": subject.used.recipe.text.max_seq_length,
        "swapped": subject.used.recipe.text.swap_texts,
        "arguments": _arguments(subject),
    }


def _thresholds(subject: Subject) -> dict[str, str]:
    """Return what decides beside the model, by its name in a sentence."""
    settings = subject.used.settings
    found = {}
    if (threshold := settings.get("no_answer_threshold")) is not None:
        found["the threshold of no answer"] = f"{threshold:g}"
    if thresholds := settings.get("label_thresholds"):
        found["the threshold of each label"] = ", ".join(f"{label} {value:g}" for label, value in thresholds.items())
    return found


def _scores(subject: Subject) -> list[dict[str, str]]:
    """Return the rows of the table of scores: ours, its interval and rows, the published cell and what may be said of it."""
    result, rows = subject.result, []
    published = {compared.score: compared for compared in result.published} if result.not_compared is None else {}
    for name, score in result.scores.items():
        if in_percent(name):
            count = result.num_examples.get(name.partition("/")[0])
            row = {"name": score_title(result.task, name), "score": score_text(name, score)}
            row |= {"interval": interval_text(result.intervals.get(name), DASH), "rows": DASH if count is None else f"{count:,}"}
            rows.append(row | _compared(published.get(name)))
    return rows


def _compared(compared: ComparedScore | None) -> dict[str, str]:
    if compared is None or compared.value is None:
        return {"published": DASH, "difference": DASH, "verdict": DASH}
    difference = DASH if compared.difference is None else signed(compared.difference)
    where = f"{compared.cell} ({compared.table}, {compared.row})"
    return {"published": where, "difference": difference, "verdict": compared.verdict}


def _limits(subject: Subject) -> list[str]:
    """Return what a reader has to know before using the model, a sentence each."""
    result = subject.result
    lines = [
        f"Trained on {result.num_train_examples:,} rows with one seed ({subject.recipe.train.seed}): other seeds score otherwise."
    ]
    for split, lengths in result.data.lengths.items():
        lines += [f"{split}: {lengths.cut:,} inputs were longer than the maximum and were cut or split."] if lengths.cut else []
    lines += [f"{split}: {count:,} bad rows were left out." for split, count in result.data.skipped_rows.items() if count]
    lines += [f"{warning.split}: {warning.what}." for warning in result.data.warnings]
    lines += [f"The run warned: {warning}." for warning in result.warnings]
    lines += [f"Training ended early: {result.stopped_early.reason}."] if result.stopped_early else []
    lines += [f"Not set beside a published number: {result.not_compared}."] if result.not_compared else []
    if reason := subject.without_result():
        lines.append(f"The scores are in no index of results: {reason}.")
    return lines


def _classes(subject: Subject) -> list[dict[str, Any]]:
    """Return a table of classes for each split that has any, at most MOST_CLASSES rows of it."""
    splits = subject.analysis.splits if subject.analysis is not None else {}
    return [
        {"split": name, "rows": split.classes[:MOST_CLASSES], "more": max(0, len(split.classes) - MOST_CLASSES)}
        for name, split in splits.items()
        if split.classes
    ]


def _arguments(subject: Subject) -> str:
    """Return what a pipeline is told beside the texts so that it gives what debft gives."""
    task, maximum = subject.task, subject.used.recipe.text.max_seq_length
    cut = f", truncation=True, max_length={maximum}"
    if isinstance(task, TextClassification) and task.is_regression:
        return cut + ', function_to_apply="none"'
    return cut + (", top_k=None" if isinstance(task, TextClassification) and task.multilabel else "")
