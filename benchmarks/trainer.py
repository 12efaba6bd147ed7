"""Fine-tuning with `transformers.Trainer` as run_glue and run_qa of transformers do it: the reference of `minilm.py`.

Rows, hyper-parameters and the seed are given; encoding, order, loss, optimizer and decoding are transformers' or written here, and
the metrics are scikit-learn's and scipy's, so that nothing is shared with debft's own training. Texts are padded to the longest of
their batch, where run_glue pads to the maximum: the attention mask makes them the same.

`Draws` are another program's, for a comparison without chance; None leaves them to Trainer.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import evaluate
import numpy as np
import torch
from datasets import Dataset
from scipy import stats
from sklearn import metrics as sk
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from debft.config.recipe import Recipe, TrainConfig
from debft.scoring.metrics import squad
from debft.scoring.metrics.export import modules

Rows = dict[str, list]
METRICS = {
    "accuracy": sk.accuracy_score,
    "f1": sk.f1_score,
    "matthews_correlation": sk.matthews_corrcoef,
    "pearson": lambda true, found: stats.pearsonr(true, found).statistic,
    "spearmanr": lambda true, found: stats.spearmanr(true, found).statistic,
}
BEST_SPANS = 20  # as run_qa: the best 20 starts with the best 20 ends of each window


@dataclass(frozen=True, kw_only=True)
class Draws:
    """orders: from the lengths of the sequences the order of them in each epoch; step_seed: of dropout, by step from 0."""

    orders: Callable[[np.ndarray], list[np.ndarray]]
    step_seed: Callable[[int], int]


class DrawnTrainer(Trainer):
    """With the rows and the dropout of `draws`."""

    draws: Draws | None = None

    def _get_train_sampler(self, *args, **kwargs):
        if self.draws is None:
            return super()._get_train_sampler(*args, **kwargs)
        return _Epochs(self.draws.orders(np.array([len(ids) for ids in self.train_dataset["input_ids"]])))

    def training_step(self, *args, **kwargs):
        if self.draws is not None:
            torch.manual_seed(self.draws.step_seed(self.state.global_step))
        return super().training_step(*args, **kwargs)


class _Epochs(torch.utils.data.Sampler):
    """One order per pass."""

    def __init__(self, orders: list[np.ndarray]) -> None:
        self.left, self.length = list(orders), len(orders[0])

    def __len__(self) -> int:
        return self.length

    def __iter__(self):
        return iter(self.left.pop(0).tolist())


def arguments(config: TrainConfig, directory: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=directory,
        num_train_epochs=config.num_train_epochs,
        per_device_train_batch_size=config.train_batch_size,
        per_device_eval_batch_size=32,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        lr_scheduler_type="linear",
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )


def classify(
    model: Path,
    texts: tuple[str, ...],
    labels: tuple[str, ...],
    names: tuple[str, ...],
    splits: dict[str, Rows],
    recipe: Recipe,
    draws: Draws | None,
) -> dict[str, float]:
    """`<split>/<metric>` in percent. texts: the columns; labels: () for a score; splits: `train` first, then those evaluated."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    set_seed(recipe.train.seed)
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(labels) or 1, dtype=torch.float32)

    def encode(rows: Rows) -> Dataset:
        found = tokenizer(*(rows[name] for name in texts), truncation=True, max_length=recipe.text.max_seq_length)
        return Dataset.from_dict({**found, "label": [_label(label, labels) for label in rows["label"]]})

    encoded = {name: encode(rows) for name, rows in splits.items()}
    with tempfile.TemporaryDirectory() as directory:
        trainer = _trainer(network, tokenizer, encoded["train"], recipe.train, directory, draws)
        trainer.train()
        scores = {}
        for split in list(splits)[1:]:
            logits = trainer.predict(encoded[split]).predictions
            found = logits.argmax(axis=1) if labels else logits.reshape(-1)
            scores |= {f"{split}/{name}": 100 * float(METRICS[name](encoded[split]["label"], found)) for name in names}
    return scores


def answer(model: Path, splits: dict[str, Rows], recipe: Recipe, draws: Draws | None) -> dict[str, float]:
    """F1 and exact match of SQuAD 2.0 at the no-answer threshold that is best for F1, in percent."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    set_seed(recipe.train.seed)
    network = AutoModelForQuestionAnswering.from_pretrained(model, dtype=torch.float32)
    train, _ = _windows(tokenizer, splits["train"], recipe, with_positions=True)
    with tempfile.TemporaryDirectory() as directory:
        trainer = _trainer(network, tokenizer, train, recipe.train, directory, draws)
        trainer.train()
        rows = splits["validation"]
        windows, places = _windows(tokenizer, rows, recipe, with_positions=False)
        starts, ends = trainer.predict(windows).predictions
    return {
        f"validation/{name}": score
        for name, score in _score(rows, *_decode(rows, places, starts, ends, recipe.questions.max_answer_length)).items()
    }


def _trainer(network, tokenizer, train: Dataset, config: TrainConfig, directory: str, draws: Draws | None) -> Trainer:
    trainer = DrawnTrainer(
        model=network,
        args=arguments(config, directory),
        train_dataset=train,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.draws = draws
    return trainer


def _label(label: str | int | float, labels: tuple[str, ...]) -> int | float:
    if not labels:
        return float(label)
    return labels.index(label) if label in labels else int(label)


def _windows(tokenizer, rows: Rows, recipe: Recipe, *, with_positions: bool) -> tuple[Dataset, list]:
    """The windows of every question, and of each (row, characters of its tokens, None outside of the context).

    Source of the positions: transformers examples/pytorch/question-answering/run_qa.py prepare_train_features.
    """
    found = tokenizer(
        [question.lstrip() for question in rows["question"]],
        rows["context"],
        truncation="only_second",
        max_length=recipe.text.max_seq_length,
        stride=recipe.questions.doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    row_of, offsets = found.pop("overflow_to_sample_mapping"), found.pop("offset_mapping")
    places = [
        (row_of[i], [where if part == 1 else None for where, part in zip(offsets[i], found.sequence_ids(i), strict=True)])
        for i in range(len(row_of))
    ]
    columns = dict(found)
    if with_positions:
        positions = [_position(rows["answers"][row], inside) for row, inside in places]
        columns |= {"start_positions": [start for start, _ in positions], "end_positions": [end for _, end in positions]}
    return Dataset.from_dict(columns), places


def _position(answers: dict, inside: list) -> tuple[int, int]:
    """First and last token of the first answer; [CLS], 0, where there is none or it is not whole in this window."""
    if not answers["text"]:
        return 0, 0
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    tokens = [i for i, where in enumerate(inside) if where is not None]
    if not tokens or inside[tokens[0]][0] > begin or inside[tokens[-1]][1] < end:
        return 0, 0
    first = max(i for i in tokens if inside[i][0] <= begin)
    last = min(i for i in tokens if inside[i][1] >= end)
    return first, last


def _decode(rows: Rows, places: list, starts: np.ndarray, ends: np.ndarray, longest: int) -> tuple[list[str], list[float]]:
    """The best span of each question, and how much likelier no answer is (the score of [CLS] less that of the span).

    longest: tokens of the longest answer
    Source: transformers examples/pytorch/question-answering/utils_qa.py postprocess_qa_predictions.
    """
    spans: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    null: dict[int, float] = {}
    for (row, inside), start, end in zip(places, starts, ends, strict=True):
        null[row] = min(null.get(row, np.inf), float(start[0] + end[0]))
        for first in np.argsort(start)[::-1][:BEST_SPANS]:
            for last in np.argsort(end)[::-1][:BEST_SPANS]:
                usable = max(first, last) < len(inside) and inside[first] is not None and inside[last] is not None
                if usable and first <= last < first + longest:
                    spans[row].append((float(start[first] + end[last]), inside[first][0], inside[last][1]))
    texts, scores = [], []
    for row, context in enumerate(rows["context"]):
        score, first, last = max(spans[row], default=(-np.inf, 0, 0))
        texts.append(context[first:last])
        scores.append(null[row] - score)
    return texts, scores


def _score(rows: Rows, texts: list[str], no_answer: list[float]) -> dict[str, float]:
    """The squad_v2 metric at the threshold of the best F1, tried at every question's own score and below them all."""
    gold, scores_N = rows["answers"], np.array(no_answer)
    if_answered_N = np.array([squad.f1(text, answers["text"]) for text, answers in zip(texts, gold, strict=True)])
    if_not_N = np.array([not answers["text"] for answers in gold], dtype=float)
    thresholds = [-np.inf, *sorted(set(no_answer))]
    threshold = max(thresholds, key=lambda one: np.where(scores_N <= one, if_answered_N, if_not_N).mean())
    said = [text if score <= threshold else "" for text, score in zip(texts, no_answer, strict=True)]
    found = evaluate.load(modules.path("squad_v2"), keep_in_memory=True).compute(
        predictions=[{"id": str(i), "prediction_text": text} for i, text in enumerate(said)],
        references=[{"id": str(i), "answers": answers} for i, answers in enumerate(gold)],
    )
    return {name: found[name] for name in ("f1", "exact_match")}
