"""What lies beside an exported model: its tokenizer, config.json for a program of the user's, and predict.py, which needs no torch.

predict.py is written for the kind of the task and for the way in which the run reads long texts, so that each stays short.
"""

import json
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe, window_stride
from debft.data.encoding import set_up
from debft.output.onnx.names import CONFIG, EXAMPLE, MODEL, TOKENIZER, usage
from debft.scoring.heads import LabelHead, MultiLabelHead, SpanHead
from debft.scoring.loaded import LoadedModel
from debft.scoring.metrics.sets import DEFAULT_THRESHOLD
from debft.tasks.titles import task_title


def write_beside(directory: Path, loaded: LoadedModel, recipe: Recipe) -> None:
    """Write all that a program needs beside MODEL. recipe: how the model is used"""
    config = config_of(loaded, recipe)
    (directory / TOKENIZER).write_text(set_up(loaded.tokenizer).to_str(), encoding="utf-8")
    (directory / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (directory / EXAMPLE).write_text(example_of(config, left=loaded.collate.left), encoding="utf-8")


def config_of(loaded: LoadedModel, recipe: Recipe) -> dict[str, Any]:
    """Return what a program has to know of the model: what it reads, what its outputs mean, and what decides."""
    tokenizer, head = loaded.tokenizer, loaded.head
    padding = {"direction": tokenizer.padding_side, "pad_id": tokenizer.pad_token_id, "pad_token": str(tokenizer.pad_token)}
    config: dict[str, Any] = {
        "task": loaded.task.name,
        "model": MODEL,
        "text_columns": list(loaded.task.text_keys),
        "padding": padding,
    }
    config["max_seq_length"] = recipe.text.max_seq_length
    if isinstance(head, SpanHead):
        questions = recipe.questions
        config |= {"answers": "span", "cls_id": tokenizer.cls_token_id, "doc_stride": questions.doc_stride}
        config |= {"max_question_length": questions.max_question_length, "max_answer_length": questions.max_answer_length}
        return config | ({"no_answer_threshold": head.threshold} if head.task.unanswerable else {})
    config |= {"swap_texts": recipe.text.swap_texts, "cut": _cut(recipe)}
    if config["cut"] == "windows":
        config |= {"window_stride": window_stride(recipe.text), "pooling": recipe.text.pooling}
    if config["cut"] == "random_ends":
        config["seed"] = recipe.train.seed
    if isinstance(head, MultiLabelHead):
        thresholds = head.thresholds or (DEFAULT_THRESHOLD,) * len(head.labels)
        return config | {
            "answers": "labels",
            "labels": list(head.labels),
            "thresholds": dict(zip(head.labels, thresholds, strict=True)),
        }
    if isinstance(head, LabelHead):
        return config | {"answers": "label", "labels": list(head.labels)}
    return config | {"answers": "score"}


def _cut(recipe: Recipe) -> str:
    """Return the name of what is done with a text that is too long."""
    return "windows" if recipe.text.long_texts == "windows" else recipe.text.truncation


def example_of(config: dict[str, Any], *, left: bool) -> str:
    """Return the text of predict.py. config: of `config_of`; left: the padding is in front of the text"""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    is_span, columns = config["answers"] == "span", config["text_columns"]
    return templates.get_template("questions.py.j2" if is_span else "texts.py.j2").render(
        title=f"A model of {task_title(config['task'])}" if config["task"] != "text" else "A model of your own texts",
        usage=usage(columns),
        pair=len(columns) == 2,
        swap=config.get("swap_texts", False),
        cut=config.get("cut"),
        pooling=config.get("pooling"),
        answers=config["answers"],
        unanswerable="no_answer_threshold" in config,
        left=left,
    )
