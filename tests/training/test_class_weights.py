"""Class weights: the numbers against scikit-learn, the loss against torch's own, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sklearn.utils.class_weight
import torch
from conftest import random_texts, table_of, write_model_config

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import TrainConfig
from debft.data.encoding import encode
from debft.data.packing import Collator
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.attention.use import is_packed, use_attention
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runtime.accelerator import build_accelerator
from debft.scoring.heads import LabelHead, MultiLabelHead, model_inputs, plain_loss
from debft.tasks import TASKS, TEXT
from debft.tasks.rules import check_recipe
from debft.training.class_weights import class_weights
from debft.training.describe import remarks
from debft.training.loop import optimizer_steps
from debft.training.optimization import build_optimizer
from debft.training.plan import make_plan

ABC = replace(TEXT, labels=("a", "b", "c, d"))
SETS = replace(ABC, multilabel=True)
LABELS = np.array([0] * 70 + [1] * 25 + [2] * 5)
ROWS = np.random.default_rng(0).random((100, 3)) < [0.6, 0.3, 0.05]


def test_balanced_weights_equal_scikit_learn():
    oracle = sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert list(class_weights("balanced", ABC, LABELS).values()) == pytest.approx(oracle, rel=1e-12)


def test_balanced_weights_of_several_labels_equal_scikit_learn_for_each():
    pairs = class_weights("balanced", SETS, ROWS.astype(np.float32))
    for pair, rows in zip(pairs.values(), ROWS.T, strict=True):
        oracle = sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.array([True, False]), y=rows)
        assert pair == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("asked", ["balanced", "b=2.5", 'a=0.5, "c, d=8"'])
def test_mean_weight_of_the_training_rows_is_one(asked):
    weights = np.array(list(class_weights(asked, ABC, LABELS).values()))
    assert weights[LABELS].mean() == pytest.approx(1.0, rel=1e-12)
    pairs = np.array(list(class_weights(asked, SETS, ROWS.astype(np.float32)).values()))
    assert np.where(ROWS, pairs[:, 0], pairs[:, 1]).mean(axis=0) == pytest.approx(np.ones(3), rel=1e-12)


def test_given_weights_keep_their_ratios():
    single = class_weights('b=2.5, "c, d=10"', ABC, LABELS)
    assert [weight / single["a"] for weight in single.values()] == pytest.approx([1, 2.5, 10])
    several = class_weights("b=2.5", SETS, ROWS.astype(np.float32))
    assert [one / other for one, other in several.values()] == pytest.approx([1, 2.5, 1])


def test_label_without_rows_or_in_every_row_has_nothing_to_balance():
    assert class_weights("balanced", ABC, np.array([0, 0, 1, 1])) == {"a": 1.0, "b": 1.0, "c, d": 1.0}
    rows = np.array([[1, 0, 1], [1, 0, 0]], dtype=np.float32)
    assert class_weights("balanced", SETS, rows) == {"a": (1.0, 1.0), "b": (1.0, 1.0), "c, d": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("balance", "expected none, balanced, or LABEL=WEIGHT,... with weights above 0, got 'balance'"),
        ("a=0", "expected none, balanced, or LABEL=WEIGHT,... with weights above 0, got 'a=0'"),
        ("a=inf", "expected none, balanced, or LABEL=WEIGHT,... with weights above 0, got 'a=inf'"),
        ("a=x", "expected none, balanced, or LABEL=WEIGHT,... with weights above 0, got 'a=x'"),
        ("", "expected none, balanced, or LABEL=WEIGHT,..., got ''"),
        ("a\n=2", r"expected names with commas between them, got 'a\n=2'; put quotes around one with a line break"),
        ("a=1,a=2", "expected each label once, got 'a' twice"),
        ("preis=2", "no training row is labelled 'preis'; did you mean 'pries'?"),
    ],
)
def test_weights_that_cannot_be_read_are_one_exact_line(asked, message):
    task = replace(TEXT, labels=("a", "b", "pries"))
    with pytest.raises(InputError) as error:
        class_weights(asked, task, LABELS)
    assert str(error.value) == f"train.class_weight: {message}"


@pytest.mark.parametrize("task", ["stsb", "squad2"])
def test_weights_are_refused_for_tasks_without_labels(task):
    with pytest.raises(InputError) as error:
        check_recipe(load_recipe(recipe_path("demo"), {"task": task, "train.class_weight": "balanced", "text.max_seq_length": 256}))
    assert str(error.value) == f"train.class_weight: is for labels, the task is {task}; leave it out"


def own_data(directory, labels):
    for split in ("train", "validation"):
        rows = [json.dumps({"text": f"text number {i}", "label": label}) + "\n" for i, label in enumerate(labels)]
        (directory / f"{split}.jsonl").write_text("".join(rows))
    return load_recipe(recipe_path("demo"), {"task": "text", "data": str(directory), "train.class_weight": "balanced"})


def test_weights_are_refused_for_own_scores(tmp_path):
    with pytest.raises(InputError) as error:
        make_plan(own_data(tmp_path, [0.5, 1.5, 2.5]))
    assert str(error.value) == "train.class_weight: is for labels, the rows have none; leave it out"


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["a", "a", "a", "b"], "class weights   a 0.667   b 2   (balanced; the mean over the training rows is 1)"),
        (
            [["a"], ["a", "b"], ["a"], []],
            "class weights of rows with / without the label   a 0.667 / 2   b 2 / 0.667   (balanced; the mean over the training rows "
            "is 1)",
        ),
    ],
)
def test_weights_are_shown_before_training(tmp_path, labels, line):
    assert line in remarks(make_plan(own_data(tmp_path, labels)))


# ---- the loss ----
NAMES = ("input_ids", "token_type_ids", "attention_mask")
HEADS = {"mnli": LabelHead, "sets": MultiLabelHead}


def parts(name, demo_model, directory, attention="eager"):
    """(model, split, head with uneven weights, collate) of a tiny model without dropout."""
    task = replace(TASKS["mnli"], name=name, multilabel=name == "sets")
    files = ModelFiles(name="tiny", path=write_model_config(directory / f"tiny-{attention}", demo_model, initializer_range=0.1))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40).tolist()
    if task.multilabel:
        labels = [[task.labels[i] for i in np.flatnonzero(row)] for row in rng.integers(0, 2, (40, 3))]
    rows = check_rows(table_of(premise=random_texts(40, 3), hypothesis=random_texts(40, 4), label=labels), task)
    split = encode(rows, build_tokenizer(files), max_seq_length=64, truncation="longest_first", seed=0, what="x", show=False)
    weights = class_weights("entailment=3,neutral=0.5", task, rows.labels)
    order = ("neutral", "contradiction", "entailment")  # a model may have its outputs in an order of its own
    head = HEADS[name](task=task, labels=order).weighted(weights)
    model = build_model(files, task, from_scratch=True, head_dropout=None, seed=1, quiet=True)
    use_attention(model, attention)
    collate = Collator(pad_id=0, names=NAMES, device=torch.device("cpu"), packed=is_packed(attention))
    return model, head.prepare(split), head, collate, {label: weights[label] for label in order}


def torch_loss(name, logits, labels, weights):
    """Torch's losses with weights, as someone writes them who has never seen ours; the sum over the sequences."""
    if name == "mnli":
        weight = torch.tensor(list(weights.values()), dtype=logits.dtype)
        return sum(weight[y] * torch.nn.functional.cross_entropy(z[None], y[None]) for z, y in zip(logits, labels, strict=True))
    p, pairs = logits.sigmoid(), torch.tensor(list(weights.values()), dtype=logits.dtype)
    return -(pairs[:, 0] * labels * p.log() + pairs[:, 1] * (1 - labels) * (1 - p).log()).mean(-1).sum()


@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize("name", HEADS)
def test_weighted_gradient_of_a_step_equals_torchs_in_float64_however_it_is_cut(demo_model, tmp_path, name, attention):
    """Float32 rounding against float64 is about 1e-6 of the norm for these models; another weight moves it by 0.1."""
    model, split, head, collate, weights = parts(name, demo_model, tmp_path, attention)
    exact = parts(name, demo_model, tmp_path)[0].double()
    config = TrainConfig(learning_rate=1e-3, train_batch_size=40, max_steps=1, warmup_steps=0, max_grad_norm=1e9)
    seen, accelerator = [], build_accelerator("fp32")[0]
    optimizer = build_optimizer(model, config)
    optimizer.register_step_pre_hook(lambda *_: seen.append([p.grad.clone() for p in model.parameters()]))
    (log,) = optimizer_steps(
        accelerator,
        *accelerator.prepare(model, optimizer),
        split,
        config,
        collate=collate,
        micro_batch_tokens=150,
        total_steps=1,
        loss_fn=plain_loss(head),
    )
    batch = parts(name, demo_model, tmp_path)[3](split, np.arange(40))
    expected = torch_loss(name, exact(**model_inputs(batch)).logits, batch["labels"], weights) / 40
    assert log.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(exact.parameters()))])
    ours = torch.cat([g.flatten() for g in seen[0]]).double()
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("name", HEADS)
def test_divergence_and_scores_do_not_see_the_weights(demo_model, tmp_path, name):
    _, split, head, collate, _ = parts(name, demo_model, tmp_path)
    plain, batch = replace(head, weights=None), collate(split, np.arange(8))
    one, other = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head.divergence(one, other, batch), plain.divergence(one, other, batch))
    assert not torch.equal(head.loss(one, batch), plain.loss(one, batch))
