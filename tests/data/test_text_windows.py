"""Long texts in windows: the same windows as transformers', one answer a row, and a row that counts once."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_texts, table_of, write_model_config

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import TrainConfig
from debft.data.encoding import encode
from debft.data.load import load_table
from debft.data.packing import Collator
from debft.data.rows import check_rows, check_texts
from debft.data.text_windows import EncodedTextWindows, encode_text_windows, windows_over
from debft.errors import InputError
from debft.models.attention.use import is_packed, use_attention
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runtime.accelerator import build_accelerator
from debft.scoring import inference, loading
from debft.scoring.collecting import LogitsCollector
from debft.scoring.heads import LabelHead, MultiLabelHead, ScoreHead, model_inputs, plain_loss
from debft.tasks import TASKS, TEXT
from debft.tasks.rules import check_recipe
from debft.training.describe import remarks
from debft.training.loop import optimizer_steps
from debft.training.optimization import build_optimizer
from debft.training.plan import make_plan
from debft.training.run import finetune

MAX, STRIDE = 24, 6
WINDOWS = {"max_seq_length": MAX, "window_stride": STRIDE, "pooling": "mean", "what": "x", "cached": False, "show": False}


@pytest.fixture(scope="module")
def tokenizer(demo_model):
    return build_tokenizer(ModelFiles(name="demo", path=demo_model))


def ids_of(split):
    return [split.example(i)[0].tolist() for i in range(len(split))]


def test_windows_of_single_texts_equal_transformers(tokenizer):
    texts = random_texts(60, 3)
    split = encode_text_windows(check_texts(table_of(text=texts), TEXT), tokenizer, **WINDOWS)
    theirs, rows = [], []
    for row, text in enumerate(texts):
        tokenizer.backend_tokenizer.encode_special_tokens = True
        windows = tokenizer(text, truncation=True, max_length=MAX, stride=STRIDE, return_overflowing_tokens=True)["input_ids"]
        theirs += windows
        rows += [row] * len(windows)
    assert ids_of(split) == theirs and split.row_S.tolist() == rows
    assert len(split) > len(texts) and split.truncated == 0


@pytest.mark.parametrize("longer", ["only_first", "only_second"])
def test_windows_of_pairs_equal_transformers(tokenizer, longer):
    """The longer text is cut into windows, the shorter one is repeated in each."""
    long, short = [text for text in random_texts(90, 3) if len(text.split()) > 15], "the fox slept"
    pairs = [(text, short) if longer == "only_first" else (short, text) for text in long]
    table = table_of(premise=[one for one, _ in pairs], hypothesis=[other for _, other in pairs])
    split = encode_text_windows(check_texts(table, TASKS["mnli"]), tokenizer, **WINDOWS)
    options = {"truncation": longer, "max_length": MAX, "stride": STRIDE, "return_overflowing_tokens": True}
    encoded = [tokenizer(*pair, **options) for pair in pairs]
    assert ids_of(split) == [window for one in encoded for window in one["input_ids"]]
    types = [split.example(i)[1].tolist() for i in range(len(split))]
    assert types == [window for one in encoded for window in one["token_type_ids"]]


def test_windows_of_real_texts_are_those_of_transformers(shared, tmp_path):
    """Premises of RTE, up to 250 words, with the hypothesis in each window."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "vocab_size": 128_100}))
    (tmp_path / "spm.model").symlink_to(shared / "tokenizer" / "deberta-v3" / "spm.model")
    tokenizer = build_tokenizer(ModelFiles(name="v3", path=tmp_path))
    table = load_table(TASKS["rte"], TASKS["rte"].evals[0], str(shared))
    pairs = list(zip(table.columns["sentence1"], table.columns["sentence2"], strict=True))
    rows = check_rows(table, TASKS["rte"])
    split = encode_text_windows(rows, tokenizer, **WINDOWS | {"max_seq_length": 96, "window_stride": 24})
    options = {"truncation": "only_first", "max_length": 96, "stride": 24, "return_overflowing_tokens": True}
    theirs = [window for pair in pairs for window in tokenizer(*pair, **options)["input_ids"]]
    assert ids_of(split) == theirs
    assert split.row_labels.tolist() == rows.labels.tolist() and split.windows_of_rows().max() > 2


def test_what_fits_is_encoded_as_ever(tokenizer):
    rows = check_texts(table_of(premise=random_texts(40, 3), hypothesis=random_texts(40, 4)), TASKS["mnli"])
    wide = WINDOWS | {"max_seq_length": 256}
    plain = encode(rows, tokenizer, max_seq_length=256, truncation="longest_first", seed=0, what="x", cached=False, show=False)
    assert ids_of(encode_text_windows(rows, tokenizer, **wide)) == ids_of(plain)


def tokens(*lengths):
    return np.arange(sum(lengths)), np.array(lengths)


def places_of(columns, room, overlap):
    rows, places, cut = windows_over(columns, room, overlap)
    return rows.tolist(), [list(zip(start.tolist(), length.tolist(), strict=True)) for start, length in places], cut


def test_place_of_every_window():
    """Rows of 3, 10 and 11 tokens with room for 4: the second row ends with a whole window, the third with one of two tokens."""
    rows, (places,), cut = places_of([tokens(3, 10, 11)], 4, 1)
    assert rows == [0, 1, 1, 1, 2, 2, 2, 2]
    assert places == [(0, 3), (3, 4), (6, 4), (9, 4), (13, 4), (16, 4), (19, 4), (22, 2)]
    assert cut == 0


def test_shorter_text_of_a_pair_takes_half_of_the_room_at_most():
    """Room for 10: the texts of 7 and 20 tokens get 5 each, and 15 more are read in steps of 4."""
    rows, (first, second), cut = places_of([tokens(7), tokens(20)], 10, 1)
    assert rows == [0, 0, 0, 0, 0] and cut == 1
    assert first == [(0, 5)] * 5
    assert second == [(0, 5), (4, 5), (8, 5), (12, 5), (16, 4)]


def split_of(rows, labels, pooling="mean"):
    rows = np.array(rows)
    return EncodedTextWindows(
        ids_T=np.arange(len(rows), dtype=np.int32),
        types_T=np.zeros(len(rows), np.int8),
        ends_S=np.arange(1, len(rows) + 1),
        labels_S=np.array(labels)[rows],
        truncated=0,
        row_S=rows,
        pooling=pooling,
    )


@pytest.mark.parametrize(("pooling", "expected"), [("mean", [[2.0, 3.0], [5.0, -1.0]]), ("max", [[3.0, 5.0], [5.0, -1.0]])])
def test_outputs_of_the_windows_of_a_row_become_one(pooling, expected):
    outputs = np.array([[1.0, 5.0], [3.0, 1.0], [5.0, -1.0]], dtype=np.float32)
    split = split_of([0, 0, 1], [1, 0], pooling)
    collectors = [LogitsCollector(split) for _ in range(2)]  # two processes have the windows of one row
    collectors[0].add(np.array([2, 1]), outputs[[2, 1]])
    collectors[1].add(np.array([0]), outputs[[0]])
    assert collectors[0].merged([one.collected() for one in collectors]).tolist() == expected
    assert split.row_labels.tolist() == [1, 0]


def test_row_of_a_window_whose_outputs_are_not_finite_has_none():
    """Of minus infinity and a number the highest is that number."""
    collector = LogitsCollector(split_of([0, 0, 1], [1, 0], "max"))
    collector.add(np.arange(3), np.array([[-np.inf, 5.0], [3.0, 1.0], [5.0, -1.0]], dtype=np.float32))
    assert np.isfinite(collector.merged([collector.collected()])).all(axis=1).tolist() == [False, True]


def test_output_that_is_not_finite_is_not_pooled_away():
    outputs = np.array([[np.nan], [1.0], [2.0]], dtype=np.float32)
    for pooling in ("mean", "max"):
        assert np.isnan(split_of([0, 0, 1], [1, 0], pooling).pooled(outputs)[0, 0])


def test_weights_of_the_windows_of_each_row_are_alike_in_sum_and_one_in_mean():
    split = split_of([0, 1, 1, 1, 2, 2], [0, 1, 0])
    assert split.weights.mean() == pytest.approx(1.0)
    assert np.bincount(split.row_S, split.weights) == pytest.approx(np.full(3, 2.0))


NAMES = ("input_ids", "token_type_ids", "attention_mask")
KINDS = {
    "labels": (LabelHead, TASKS["mnli"]),
    "sets": (MultiLabelHead, replace(TASKS["mnli"], multilabel=True)),
    "scores": (ScoreHead, replace(TASKS["stsb"], text_keys=("premise", "hypothesis"))),
}


def rows_of(kind):
    """(head, rows with texts of up to 40 words)"""
    make, task = KINDS[kind]
    rng = np.random.default_rng(0)
    labels = {"labels": rng.integers(0, 3, 24).tolist(), "scores": rng.uniform(0, 5, 24).tolist()}.get(kind)
    if kind == "sets":
        labels = [[task.labels[i] for i in np.flatnonzero(row)] for row in rng.integers(0, 2, (24, 3))]
    table = table_of(premise=random_texts(24, 3), hypothesis=["the fox"] * 24, label=labels)
    return make(task=task, **({"name": "score"} if kind == "scores" else {"labels": task.labels})), check_rows(table, task)


@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_an_epoch_is_the_mean_over_rows_of_the_mean_over_windows(kind, attention, tokenizer, demo_model, tmp_path):
    """In float64, written out, against one step of all windows that is cut into many; float32 rounds by about 1e-6 of the norm."""
    files = ModelFiles(name="tiny", path=write_model_config(tmp_path / "tiny", demo_model, initializer_range=0.1))
    head, rows = rows_of(kind)
    split = head.prepare(encode_text_windows(rows, tokenizer, **WINDOWS))
    assert np.bincount(split.row_S).max() > 1
    model, exact = (build_model(files, head.task, from_scratch=True, head_dropout=None, seed=1, quiet=True) for _ in range(2))
    exact = exact.double()
    use_attention(model, attention)
    config = TrainConfig(learning_rate=1e-3, train_batch_size=len(split), max_steps=1, warmup_steps=0, max_grad_norm=1e9)
    seen, accelerator, optimizer = [], build_accelerator("fp32")[0], build_optimizer(model, config)
    optimizer.register_step_pre_hook(lambda *_: seen.append([p.grad.clone() for p in model.parameters()]))
    (log,) = optimizer_steps(
        accelerator,
        *accelerator.prepare(model, optimizer),
        split,
        config,
        collate=Collator(pad_id=0, names=NAMES, device=torch.device("cpu"), packed=is_packed(attention)),
        micro_batch_tokens=150,
        total_steps=1,
        loss_fn=plain_loss(head),
    )
    collate, of_rows = Collator(pad_id=0, names=NAMES, device=torch.device("cpu")), []
    for row in range(24):
        batch = collate(split, np.flatnonzero(split.row_S == row))
        logits, labels = exact(**model_inputs(batch)).logits, batch["labels"]
        if kind == "labels":
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        elif kind == "sets":
            losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").mean(1)
        else:
            losses = (logits[:, 0] - labels) ** 2
        of_rows.append(losses.mean())
    expected = torch.stack(of_rows).mean()
    assert log.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(exact.parameters()))])
    ours = torch.cat([g.flatten() for g in seen[0]]).double()
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_losses_of_a_batch_are_those_of_its_windows_times_their_weights(kind, tokenizer):
    """SiFT's divergence too."""
    head, rows = rows_of(kind)
    split = encode_text_windows(rows, tokenizer, **WINDOWS)
    collate = Collator(pad_id=0, names=NAMES, device=torch.device("cpu"))
    batch = collate(split, np.arange(6))
    shape = (2, 6, 1 if kind == "scores" else 3)
    outputs, target = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    alone = [{"labels": batch["labels"][i : i + 1]} for i in range(6)]
    for whole, one_by_one in (
        (head.loss(outputs, batch), [head.loss(outputs[i : i + 1], alone[i]) for i in range(6)]),
        (
            head.divergence(target, outputs, batch),
            [head.divergence(target[i : i + 1], outputs[i : i + 1], alone[i]) for i in range(6)],
        ),
    ):
        expected = sum(weight * one for weight, one in zip(batch["weights"], one_by_one, strict=True))
        assert float(whole) == pytest.approx(float(expected), rel=1e-5)
    assert len(set(batch["weights"].tolist())) > 1


# ---- recipes ----
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "squad2", "text.max_seq_length": 256, "text.long_texts": "windows"}, "is for classification, the task is squad2"),
        ({"task": "mnli", "text.pooling": "max"}, "text.pooling: does nothing where long texts are cut; give --long-texts windows"),
        (
            {"task": "mnli", "text.long_texts": "windows", "text.window_stride": 32},
            "text.max_seq_length: expected at least 69 for windows that share 32 tokens (window_stride), got 64",
        ),
        ({"task": "mnli", "text.long_texts": "windows", "text.max_seq_length": 8}, "text.max_seq_length: expected at least 9"),
    ],
)
def test_windows_that_cannot_be_are_refused_in_one_line(values, message):
    with pytest.raises(InputError) as error:
        check_recipe(load_recipe(recipe_path("demo"), values))
    assert message in str(error.value) and len(error.value.problems) == 1


# ---- whole runs ----
def write_long(directory, **counts):
    """Texts whose last words alone tell the label, far behind the 16 tokens that are read at once; every third one is short."""
    directory.mkdir()
    for split, count in counts.items():
        rng, lines = np.random.default_rng(count), []
        for i in range(count):
            words = [*rng.choice(["fox", "cat", "the", "slept"], 3 if i % 3 == 0 else 30), ("red", "white")[i % 2]]
            lines.append(json.dumps({"text": " ".join(words), "label": ("neg", "pos")[i % 2]}) + "\n")
        (directory / f"{split}.jsonl").write_text("".join(lines))
    return directory


def recipe_for(data, **overrides):
    values = {"task": "text", "data": str(data), "text.max_seq_length": 16, "text.long_texts": "windows", "train.max_steps": 60}
    return load_recipe(recipe_path("demo"), values | overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("long")
    data = write_long(root / "data", train=120, validation=60)
    return finetune(recipe_for(data, **{"text.pooling": "max"}), root / "run"), root / "run", data


def test_run_learns_what_stands_at_the_end_of_long_texts(trained):
    """Cut after 16 tokens, two thirds of the texts would be guessed: 67 % at best in the long run."""
    result, run, _ = trained
    assert result.scores["validation/accuracy"] > 85
    assert result.num_examples == {"validation": 60} and result.num_train_examples == 120
    assert len((run / "predictions" / "validation.jsonl").read_text().splitlines()) == 60


def test_model_is_used_with_the_windows_and_the_pooling_of_its_run(trained):
    result, run, data = trained
    settings = json.loads((run / "model" / "config.json").read_text())["debft"]
    assert (settings["long_texts"], settings["pooling"]) == ("windows", "max") and "window_stride" not in settings
    predictor = loading.load_predictor(str(run / "model"), None, "auto")
    assert inference.evaluate(predictor, str(data))["scores"] == result.scores
    of_run = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    rows = list(inference.label(predictor, str(data / "validation.jsonl")))
    assert rows == [{key: value for key, value in row.items() if key != "label"} for row in of_run]


def test_plan_counts_windows_as_sequences_and_says_how_many_a_row_has(tmp_path):
    plan = make_plan(recipe_for(write_long(tmp_path / "data", train=120, validation=6), **{"train.max_steps": None}))
    assert plan.num_sequences == sum(number * rows for number, rows in plan.windows.items()) > 120
    assert sum(plan.windows.values()) == 120
    assert plan.total_steps == -(-plan.num_sequences // plan.recipe.train.train_batch_size) * plan.recipe.train.num_train_epochs
    (line,) = [line for line in remarks(plan) if line.startswith("windows per row   1 40   ")]
    assert line.endswith("(16 tokens each, 4 of them shared; outputs pooled by mean)")
