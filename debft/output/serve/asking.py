"""A request asks for the labels of rows. It is read and checked as `debft predict` reads and checks what stdin has."""

import json
from dataclasses import dataclass
from typing import Any

from debft.data.examples import Examples
from debft.errors import InputError, shown
from debft.scoring.inputs import examples_of_json, is_one_row
from debft.scoring.zero_shot import Labels, check_infers, labels_among, labels_of, task_of_texts
from debft.tasks import Task

BODY = "body"  # what error lines call the rows of a request
THIS_MODEL = "this model"
KINDS = {"labels": (list, str), "template": (str,), "multi_label": (bool,)}  # what may stand beside the rows, with its types
WORDS = {"labels": "a list of names", "template": "a sentence with one {} for the label", "multi_label": "true or false"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request asks for.

    examples: its rows
    labels: those that are chosen among, where they are not the model's own
    is_one: whether the body is one row, and the answer is one as well
    """

    examples: Examples
    labels: Labels | None
    is_one: bool

    @property
    def size(self) -> int:
        """Return for how many texts or pairs the model runs."""
        return len(self.examples) * (len(self.labels.names) if self.labels else 1)


def read_asked(body: bytes, task: Task) -> Asked:
    """Read the body of a request to a model of `task`. Raises InputError, with the line of `debft predict`."""
    content = _object_in(body)
    labels = _labels_in(content, task)
    read_as = task if labels is None else task_of_texts()
    examples = examples_of_json(body, read_as, BODY)
    return Asked(examples=examples, labels=labels, is_one=bool(content) and is_one_row(content, read_as))


def _object_in(body: bytes) -> dict[str, Any]:
    """Return the object that the body is, {} for a list and for what cannot be read, which the check of the rows names."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _labels_in(content: dict[str, Any], task: Task) -> Labels | None:
    """Return the labels that the body names beside its rows, None where it names none. A column of the task is none of these."""
    given = {key: content[key] for key in KINDS if key in content and key not in task.text_keys and content[key] is not None}
    for key, value in given.items():
        if not isinstance(value, KINDS[key]):
            raise InputError(f"{BODY}: {key}: expected {WORDS[key]}, got {shown(value)}")
    names, template, several = given.get("labels"), given.get("template"), given.get("multi_label", False)
    if not isinstance(names, list):
        labels = labels_of(names, template, several)
    elif all(isinstance(name, str) for name in names):
        labels = labels_among(tuple(name.strip() for name in names), names, template, several)
    else:
        raise InputError(f"{BODY}: labels: expected {WORDS['labels']}, got {shown(names)}")
    if labels is not None:
        check_infers(task, THIS_MODEL)
    return labels
