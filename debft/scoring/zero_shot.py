"""A model of natural language inference chooses among labels that it was never trained on.

Each label becomes a hypothesis, `This example is {}.`, and the model says how far the text entails it.
Source: Yin, Hay and Roth, Benchmarking Zero-shot Text Classification, EMNLP 2019; transformers' ZeroShotClassificationPipeline,
whose scores these are.

Legend: N texts, L labels, C outputs of the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.data.examples import Examples
from debft.data.sources.separator import fields_of
from debft.errors import InputError, has_half_surrogate, one_of
from debft.models.outputs import output_names
from debft.models.settings import read_settings
from debft.runs.directory import RunDirectory
from debft.scoring.used_model import UsedModel, files_of_model, find_used_model
from debft.tasks import TEXT, Task, TextClassification

if TYPE_CHECKING:
    from debft.scoring.predictor import Predictor

ENTAILMENT, OTHERS = "entailment", ("contradiction", "not_entailment")  # what an NLI model calls what it is asked for, and not
BY_OUTPUTS = {frozenset((ENTAILMENT, "neutral", OTHERS[0])): "mnli", frozenset((ENTAILMENT, OTHERS[1])): "rte"}
NOT_INFERENCE = ("qnli",)  # its labels are called so as well, but its first text is a question
TEMPLATE = "This example is {}."
PLACE = "{}"
AT_LEAST = 0.5  # the probability from which a label is one of several
PAIRS_ON_CPU, PAIRS_ON_GPU = 1000, 8000  # that are predicted together


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of zero-shot classification, L of them.

    names: the labels
    template: the hypothesis, with the place of a label
    several: whether a text may have any number of them, each judged by itself
    """

    names: tuple[str, ...]
    template: str = TEMPLATE
    several: bool = False

    @property
    def hypotheses(self) -> tuple[str, ...]:
        return tuple(self.template.replace(PLACE, name) for name in self.names)


def labels_of(typed: str | None, template: str | None, several: bool) -> Labels | None:
    """Return the labels that were typed, `a,b,c`; None without any. Raises InputError for what cannot be chosen among."""
    if typed is None:
        if template is not None or several:
            raise InputError(f"{'--multi-label' if template is None else '--template'}: expected --labels with it, got none")
        return None
    names = tuple(name.strip() for name in fields_of(typed, "--labels"))
    return labels_among(names, typed, template, several)


def labels_among(names: tuple[str, ...], typed: object, template: str | None, several: bool) -> Labels:
    """Return these labels. Raises InputError for what cannot be chosen among. typed: what error lines show of them"""
    if not all(names) or not names:
        raise InputError(f"--labels: expected names with commas between them, got {typed!r}")
    for option, texts in (("--labels", names), ("--template", (template or "",))):
        if half := next(filter(has_half_surrogate, texts), None):
            raise InputError(f"{option}: expected text that UTF-8 can write, got {half!r}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"--labels: expected each label once, got {twice!r} twice")
    if len(names) < 2 and not several:
        raise InputError(f"--labels: expected two labels or more to choose from, got {names[0]!r}; --multi-label judges one alone")
    if template is not None and template.count(PLACE) != 1:
        raise InputError(f"--template: expected a sentence with one {PLACE} for the label, got {template!r}")
    return Labels(names=names, template=template or TEMPLATE, several=several)


def find_inference_model(run_or_model: str, task_name: str | None, attention: str) -> UsedModel:
    """Find a model of natural language inference, as `find_used_model` does; one of another program by its outputs' names.

    Raises InputError for any other model.
    """
    used = find_used_model(run_or_model, task_name or _task_by_outputs(run_or_model), attention)
    check_infers(used.task, run_or_model)
    return used


def check_infers(task: Task, name: str) -> None:
    """Raise InputError unless the model of this task says what a text entails. name: what the error calls the model"""
    if not infers(task):
        raise InputError(
            f"--labels: expected a model of natural language inference (of mnli, xnli or rte), {name} is one of "
            f"{task.name}; it has labels of its own"
        )


def _task_by_outputs(run_or_model: str) -> str | None:
    """Return the task of a model of another program whose outputs are called as those of inference; None for any other."""
    if RunDirectory(Path(run_or_model)).exists():
        return None
    files = files_of_model(run_or_model)
    if "task" in read_settings(files):
        return None
    names = frozenset(name.lower() for name in output_names(files))
    if names not in BY_OUTPUTS:
        raise InputError(
            f"--labels: expected a model of natural language inference, with outputs called entailment, neutral, contradiction; "
            f"those of {run_or_model} are called {one_of(output_names(files)[:8])}; --task mnli takes them for MNLI's, in its order"
        )
    return BY_OUTPUTS[names]


def infers(task: Task) -> bool:
    """Tell a task whose texts are a premise and a hypothesis, with a label for what the premise entails."""
    if not isinstance(task, TextClassification) or task.multilabel or task.name in NOT_INFERENCE or len(task.text_keys) != 2:
        return False
    names = [label.lower() for label in task.labels]
    return ENTAILMENT in names and any(other in names for other in OTHERS)


def task_of_texts() -> Task:
    """Return the task whose rows are texts alone."""
    return replace(TEXT, benchmark_files=())


def pairs(examples: Examples, labels: Labels) -> Examples:
    """Return each text with each hypothesis, N x L pairs, those of a text together. examples: N texts"""
    texts = [(text, hypothesis) for (text,) in examples.texts for hypothesis in labels.hypotheses]
    ids = [identity for identity in examples.ids for _ in labels.names]
    source = f"{examples.source}, with each of {len(labels.names)} labels"
    return replace(examples, texts=texts, labels=np.zeros(len(texts), dtype=np.int64), ids=ids, source=source)


def label_freely(predictor: "Predictor", examples: Examples, labels: Labels) -> Iterator[dict[str, Any]]:
    """Label each text, the first ones while the others wait: id, prediction and the probability of each label."""
    from debft.scoring.heads.head import check_finite
    from debft.scoring.heads.label import LabelHead

    head = predictor.loaded.head
    assert isinstance(head, LabelHead), "a model of pairs gives each one label"
    on_cpu = predictor.accelerator.device.type == "cpu"
    at_once = max(1, (PAIRS_ON_CPU if on_cpu else PAIRS_ON_GPU) // len(labels.names))
    for start in range(0, len(examples), at_once):
        part = examples.part(start, start + at_once)
        encoded = predictor.encode(pairs(part, labels), "pairs", cached=False)
        logits_NLC = predictor.outcomes({"pairs": encoded})["pairs"].reshape(len(part), len(labels.names), -1)
        with predictor.named():
            check_finite(logits_NLC, part.ids)
        probability_NL = probabilities_of(logits_NLC, head.labels, several=labels.several)
        for identity, probability_L in zip(part.ids, probability_NL.tolist(), strict=True):
            chosen = [name for name, p in zip(labels.names, probability_L, strict=True) if p >= AT_LEAST]
            prediction = chosen if labels.several else labels.names[int(np.argmax(probability_L))]
            scores = {name: round(p, 6) for name, p in zip(labels.names, probability_L, strict=True)}
            yield {"id": identity, "prediction": prediction, "scores": scores}


def probabilities_of(logits_NLC: np.ndarray, outputs: tuple[str, ...], *, several: bool) -> np.ndarray:
    """Return the probability of each label, (N, L) float64.

    One label of a text: the softmax of the entailment logits over the labels. Several: for each label that of entailment
    against contradiction, neutral left out. outputs: the names of the C outputs of the model
    """
    from debft.scoring.heads.label import probabilities

    names = [name.lower() for name in outputs]
    entailed_NL = logits_NLC[..., names.index(ENTAILMENT)]
    if not several:
        return probabilities(entailed_NL)
    other = next(names.index(name) for name in OTHERS if name in names)
    both_P2 = np.stack([entailed_NL, logits_NLC[..., other]], axis=-1).reshape(-1, 2)
    return probabilities(both_P2)[:, 0].reshape(entailed_NL.shape)
