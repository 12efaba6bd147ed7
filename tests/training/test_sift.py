"""SiFT against the algorithm written out in float64, and everything it must leave alone."""

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from conftest import random_texts, table_of, write_mnli, write_model_config
from interrupting import interrupted_after
from processes import Command, start_two
from safetensors.torch import load_file
from scipy.stats import kstest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import debft.models.vocabulary
import debft.training.opening
from debft.config.packaged import published_weight, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import QuestionConfig, Recipe, SiftConfig, TextConfig, TrainConfig
from debft.data.load import encode_split, load_table
from debft.data.packing import Collator
from debft.data.rows import check_rows
from debft.data.sources import demo
from debft.data.sources.demo import questions
from debft.data.sources.table import DataTable
from debft.errors import InputError
from debft.models.attention.use import is_packed, use_attention
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.outputs import model_labels
from debft.models.tokens.tokenizer import build_tokenizer
from debft.published.comparison import beside_published, why_not_compared
from debft.runtime.accelerator import build_accelerator
from debft.scoring.heads import head_of, plain_loss
from debft.tasks import TASKS
from debft.training import sift
from debft.training.loop import optimizer_steps
from debft.training.optimization import build_optimizer
from debft.training.run import finetune
from debft.training.sift import SiftLoss, first_draw, perturbed_module

WEIGHT = 3.0
CONFIG = TrainConfig(learning_rate=1e-3, train_batch_size=8, max_steps=10, warmup_steps=0)
RECIPE = Recipe(train=CONFIG, text=TextConfig(max_seq_length=64), questions=QuestionConfig(doc_stride=16, max_question_length=16))
SETS = replace(TASKS["mnli"], name="sets", multilabel=True, metrics=("micro_f1", "macro_f1"))
TASKS_BY_NAME = {task.name: task for task in (TASKS["mnli"], TASKS["stsb"], TASKS["squad2"], SETS)}
TASK_NAMES = tuple(TASKS_BY_NAME)


@pytest.fixture(scope="module")
def files(demo_model, tmp_path_factory):
    """A tiny DeBERTa-v2 without dropout whose embeddings are large enough to see."""
    directory = write_model_config(tmp_path_factory.mktemp("m") / "tiny", demo_model, initializer_range=0.1)
    return ModelFiles(name="tiny", path=directory)


def examples_of(name):
    if name == "squad2":
        columns = questions.rows("train", 24)
        return check_rows(DataTable(columns=columns, path="rows", lines=range(1, 25)), TASKS[name])
    rng = np.random.default_rng(0)
    labels = rng.uniform(0, 5, 24).tolist() if name == "stsb" else rng.integers(0, 3, 24).tolist()
    if name == "sets":
        labels = [[SETS.labels[i] for i in np.flatnonzero(row)] for row in rng.integers(0, 2, (24, 3))]
    keys = TASKS_BY_NAME[name].text_keys
    columns = {keys[0]: random_texts(24, 3), keys[1]: random_texts(24, 4), "label": labels}
    return check_rows(table_of(**columns), TASKS_BY_NAME[name])


class Parts:
    """Model, head, data and loss of one task; `double` for comparisons with float64."""

    def __init__(self, files, name, *, double=False, seed=1, **loss):
        self.task = TASKS_BY_NAME[name]
        self.tokenizer = build_tokenizer(files)
        self.model = build_model(files, self.task, from_scratch=True, head_dropout=None, seed=seed, quiet=True).train()
        self.model = self.model.double() if double else self.model
        self.head = head_of(self.task, RECIPE.questions, model_labels(files, self.task))
        split = encode_split(self.task, examples_of(name), self.tokenizer, RECIPE, what="x", cached=False, show=False)
        self.split = self.head.prepare(split)
        self.loss = SiftLoss(head=self.head, config=SiftConfig(weight=WEIGHT), plain=self.model, **loss)

    def collator(self, packed=False):
        return Collator(pad_id=0, names=tuple(self.tokenizer.model_input_names), device=torch.device("cpu"), packed=packed)

    def batch(self, indices=range(8), packed=False):
        indices = np.array(indices)
        batch = self.collator(packed)(self.split, indices)
        if batch["labels"].is_floating_point():
            batch["labels"] = batch["labels"].to(next(self.model.parameters()).dtype)
        return batch | {"noise_seed": torch.from_numpy(indices + 1000)}

    def train(self, micro_batch_tokens=10_000, loss_fn=None, **options):
        accelerator, _ = build_accelerator("fp32")
        model, optimizer = accelerator.prepare(self.model, build_optimizer(self.model, CONFIG))
        return list(
            optimizer_steps(
                accelerator,
                model,
                optimizer,
                self.split,
                CONFIG,
                micro_batch_tokens=micro_batch_tokens,
                total_steps=CONFIG.max_steps,
                loss_fn=loss_fn or self.loss,
                **{"collate": self.collator()} | options,
            )
        )


def recorded_delta(monkeypatch):
    """The perturbations that SiftLoss ends with, as they are made."""
    made, adversarial = [], SiftLoss._adversarial

    def record(self, *arguments):
        made.append(adversarial(self, *arguments))
        return made[-1]

    monkeypatch.setattr(SiftLoss, "_adversarial", record)
    return made


def literally(parts, batch):
    """REFERENCE: the clean pass, the perturbation and the total, written out. (delta, R summed, total summed)."""
    model, mask = parts.model, batch["attention_mask"]

    def rest(normal):
        """From what the embeddings' LayerNorm receives to the logits."""
        hidden = model.deberta.embeddings.LayerNorm(normal) * mask.unsqueeze(-1)
        hidden = model.deberta.encoder(hidden, mask).last_hidden_state
        if parts.task.name == "squad2":
            return model.qa_outputs(hidden).masked_fill(mask.unsqueeze(-1) == 0, -1e30).transpose(1, 2)  # (B, 2, L)
        return model.classifier(model.pooler(hidden))

    def apart(target, logits):
        if parts.task.name == "stsb":
            return ((logits - target) ** 2).sum() / 2
        if parts.task.name == "sets":
            p, q = target.sigmoid(), logits.sigmoid()
            return -(p * q.log() + (1 - p) * (1 - q).log()).mean(-1).sum()
        share = 0.5 if parts.task.name == "squad2" else 1.0
        return -share * (target.softmax(-1) * logits.log_softmax(-1)).sum()

    x = model.deberta.embeddings.word_embeddings(batch["input_ids"])
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-7)
    z = rest(normal)
    delta = (first_draw(batch["noise_seed"], normal.shape[1:]).double() * 1e-2).clamp(-2e-2, 2e-2).requires_grad_()
    (g,) = torch.autograd.grad(apart(z.detach(), rest(normal.detach() + delta)), delta)
    delta = (delta + 1e-4 * g / (1e-6 + g.abs().max(-1, keepdim=True).values)).detach()
    z2 = rest(normal.detach() + delta)
    r = apart(z.detach(), z2) + apart(z2.detach(), z)
    if parts.task.name == "stsb":
        loss = ((z.squeeze(-1) - batch["labels"]) ** 2).sum()
    elif parts.task.name == "sets":
        y, q = batch["labels"], z.sigmoid()
        loss = -(y * q.log() + (1 - y) * (1 - q).log()).mean(-1).sum()
    elif parts.task.name == "squad2":
        log_p = z.log_softmax(-1)
        loss = -sum(log_p[i, k, batch["labels"][i, k]] for i in range(len(z)) for k in (0, 1)) / 2
    else:
        loss = -z.log_softmax(-1)[torch.arange(len(z)), batch["labels"]].sum()
    return delta, r, loss + WEIGHT * r


@pytest.mark.parametrize("attention", ["eager", "torch"])
@pytest.mark.parametrize("name", TASK_NAMES)
def test_delta_loss_and_gradient_equal_the_algorithm_in_float64(files, name, attention, monkeypatch):
    parts = Parts(files, name, double=True)
    batch, made = parts.batch(), recorded_delta(monkeypatch)
    use_attention(parts.model, attention)
    total, logs = parts.loss(parts.model, parts.batch(packed=is_packed(attention)))
    ours = torch.autograd.grad(total, list(parts.model.parameters()))
    delta, r, expected = literally(parts, batch)
    theirs = torch.autograd.grad(expected, list(parts.model.parameters()))
    norms = (delta * batch["attention_mask"].unsqueeze(-1)).flatten(1).norm(dim=1)
    assert float(logs["sift_delta_norm"]) == pytest.approx(float(norms.sum()), rel=1e-6)
    if is_packed(attention):
        delta = delta[batch["attention_mask"].bool()]
    torch.testing.assert_close(made[0][0], delta, rtol=1e-6, atol=1e-12)
    assert float(logs["sift_loss"]) == pytest.approx(float(r.detach()), rel=1e-6)
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm()) <= 1e-6 * float(b.norm()) + 1e-12
    assert sum(float(b.norm() > 0) for b in theirs) > 0.9 * len(theirs)


def test_each_pass_of_a_packed_batch_drops_by_masks_of_its_own(files):
    parts, passes = Parts(files, "mnli"), []
    use_attention(parts.model, "torch")
    forward = parts.model.forward

    def record(**inputs):
        passes.append(inputs["seeds"].forward_pass)
        return forward(**inputs)

    parts.model.forward = record
    parts.train(collate=parts.collator(packed=True), micro_batch_tokens=50)
    assert passes == [0, 1, 2] * (len(passes) // 3)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_float32_is_as_near_to_float64_as_its_rounding_allows(files, name):
    """Gradients of the total: 1e-3 of the norm; the ascent divides by the largest of numbers near 1e-6."""
    parts, exact = Parts(files, name), Parts(files, name, double=True)
    total, _ = parts.loss(parts.model, parts.batch())
    expected = literally(exact, exact.batch())[2]
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    ours = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(parts.model.parameters()))]).double()
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(exact.model.parameters()))])
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-3


def test_ascent_takes_a_real_step_and_padding_takes_none(files, monkeypatch):
    parts, made = Parts(files, "mnli"), recorded_delta(monkeypatch)
    batch = parts.batch()
    assert (batch["attention_mask"] == 0).any()
    parts.loss(parts.model, batch)
    delta = made[0][0]
    first = (first_draw(batch["noise_seed"], delta.shape[1:]) * 1e-2).clamp(-2e-2, 2e-2)
    largest = (delta - first).abs().amax(-1)
    padded = batch["attention_mask"] == 0
    assert (largest[padded] == 0).all()
    assert ((largest[~padded] > 1e-6) & (largest[~padded] <= 1.001e-4)).all()


def test_ascent_and_perturbation_can_be_switched_off(files, monkeypatch):
    made = recorded_delta(monkeypatch)
    for overrides in ({"sift.step_size": 0}, {"sift.step_size": 0, "sift.init_std": 0}):
        parts = Parts(files, "mnli")
        config = load_recipe(recipe_path("demo"), {"sift.weight": WEIGHT, **overrides}).sift
        total, _ = replace(parts.loss, config=config)(parts.model, parts.batch())
        assert total.isfinite()
    first = (first_draw(parts.batch()["noise_seed"], made[0][0].shape[1:]) * 1e-2).clamp(-2e-2, 2e-2)
    assert torch.equal(made[0][0], first)
    assert not made[1][0].any()


def test_word_embeddings_get_no_gradient_from_the_perturbed_branch(files):
    parts = Parts(files, "mnli")
    batch = parts.batch()
    with sift._normalised(parts.model) as embeddings:
        clean = parts.head.outputs(parts.model, batch).detach()
        embeddings.replacement = embeddings.seen.detach() + 0.01
        perturbed = parts.head.outputs(parts.model, batch)
    parts.head.divergence(clean, perturbed, batch).backward()
    assert parts.model.deberta.embeddings.word_embeddings.weight.grad is None
    assert parts.model.classifier.weight.grad.norm() > 0


def test_dropout_masks_differ_between_the_three_passes(files, tmp_path, demo_model):
    directory = write_model_config(tmp_path / "m", demo_model, hidden_dropout_prob=0.5)
    parts = Parts(ModelFiles(name="m", path=directory), "mnli")
    masks = []
    parts.model.deberta.embeddings.dropout.register_forward_hook(lambda m, i, out: masks.append(out == 0))
    parts.loss(parts.model, parts.batch())
    assert len(masks) == 3
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.2 < (masks[one] ^ masks[other]).float().mean() < 0.8


def test_gradient_that_is_not_finite_takes_no_step_and_is_counted(files, monkeypatch):
    parts, made = Parts(files, "mnli"), recorded_delta(monkeypatch)
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: tuple(g * math.nan for g in grad(*a, **k)))
    batch = parts.batch()
    total, logs = parts.loss(parts.model, batch)
    first = (first_draw(batch["noise_seed"], made[0][0].shape[1:]) * 1e-2).clamp(-2e-2, 2e-2)
    assert torch.equal(made[0][0], first)
    assert total.isfinite() and float(logs["sift_skipped"]) == len(first)


def test_skipped_ascent_is_shown(tmp_path, monkeypatch, capsys):
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: tuple(g * math.nan for g in grad(*a, **k)))
    finetune(small_recipe(tmp_path, **{"train.max_steps": 2}), tmp_path / "run")
    assert "step 1: SiFT's gradient was not finite for 100% of the sequences, which take no ascent" in capsys.readouterr().err
    assert [row["sift_skipped"] for row in steps(tmp_path / "run")] == [1.0, 1.0]


# The first draw


def test_first_draw_is_normal():
    drawn = first_draw(torch.arange(50), torch.Size((20, 64))).double()
    assert kstest(drawn.flatten().numpy(), "norm").pvalue > 0.001
    assert abs(float((drawn[:-1] * drawn[1:]).mean())) < 0.01  # neighbouring examples
    assert abs(float((drawn[..., :-1] * drawn[..., 1:]).mean())) < 0.01 and abs(float((drawn[:, :-1] * drawn[:, 1:]).mean())) < 0.01


def test_first_draw_is_a_function_of_seed_and_place_alone():
    whole = first_draw(torch.tensor([7, 8, 9]), torch.Size((10, 4)))
    assert torch.equal(first_draw(torch.tensor([9]), torch.Size((6, 4)))[0], whole[2, :6])
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(whole, first_draw(torch.tensor([7, 8, 9]), torch.Size((10, 4))))


# The loop


@pytest.mark.parametrize(
    ("name", "micro_batch_tokens"),
    [
        ("mnli", 150),
        *(pytest.param(*case, marks=pytest.mark.sweep) for case in (("stsb", 150), ("squad2", 150))),
        *(pytest.param(*case, marks=pytest.mark.sweep) for case in (("mnli", 1), ("stsb", 1), ("squad2", 1))),
    ],
)
def test_accumulation_equals_one_batch(files, name, micro_batch_tokens):
    whole, cut = Parts(files, name), Parts(files, name)
    logs, others = whole.train(), cut.train(micro_batch_tokens)
    for key in ("loss", "grad_norm"):
        assert [getattr(log, key) for log in others] == pytest.approx([getattr(log, key) for log in logs], rel=2e-4)
    # For scores it is near 1e-5, the square of 3e-3: scores that round apart by 1e-6 after some steps move it by 6e-9.
    ours, theirs = ([log.parts["sift_loss"] for log in logged] for logged in (others, logs))
    assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-8)


def test_training_changes_when_sift_is_on(files):
    plain, on = Parts(files, "mnli"), Parts(files, "mnli")
    losses = [log.loss for log in plain.train(loss_fn=plain_loss(plain.head))]
    # By far more than rounding, and the task's loss of the first step is the smaller part of the sum.
    assert all(a > b * 1.01 for a, b in zip([log.loss for log in on.train()], losses, strict=True))


def test_run_without_sift_is_the_plain_loop_bit_for_bit(tmp_path, monkeypatch):
    """A whole run with weight 0 against the loop with the task's loss alone, written out here, on the session's own parts.

    Weight 0 must build no SiftLoss: the idle hook would change logits where the embeddings are small.
    """
    sessions, open_session = [], debft.training.opening.open_session

    def keep(*arguments, **options):
        sessions.append(open_session(*arguments, **options))
        return sessions[-1]

    monkeypatch.setattr(debft.training.opening, "open_session", keep)
    monkeypatch.setattr(debft.models.vocabulary, "MOST_ACTIVE", 0.0)  # the model that is built here has every row
    recipe = small_recipe(tmp_path, **{"sift.weight": 0.0})
    finetune(recipe, tmp_path / "run")
    session, _ = sessions[0]
    model = build_model(
        session.plan.files, session.plan.task, from_scratch=True, head_dropout=None, seed=recipe.train.seed, quiet=True
    )

    use_attention(model, session.paths.attention)

    def task_loss(model, batch):
        names = ("input_ids", "token_type_ids", "lengths", "seeds")
        logits = model(**{name: batch[name] for name in names}).logits
        return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum"), {}

    logs = optimizer_steps(
        session.accelerator,
        model,
        build_optimizer(model, recipe.train),
        session.splits["train"],
        recipe.train,
        collate=session.loaded.collate,
        micro_batch_tokens=session.micro_batch_tokens,
        total_steps=12,
        loss_fn=task_loss,
    )
    assert [(log.loss, log.grad_norm) for log in logs] == [(row["loss"], row["grad_norm"]) for row in steps(tmp_path / "run")]


def test_hook_is_gone_after_the_loss_also_after_an_error(files, monkeypatch):
    parts = Parts(files, "mnli")
    module = perturbed_module(parts.model)
    parts.loss(parts.model, parts.batch())
    assert not module._forward_pre_hooks
    monkeypatch.setattr(parts.model.deberta.encoder, "forward", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        parts.loss(parts.model, parts.batch())
    assert not module._forward_pre_hooks


def test_bf16_keeps_delta_in_float32(files, monkeypatch):
    parts, made = Parts(files, "mnli"), recorded_delta(monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, logs = parts.loss(parts.model, parts.batch())
    assert made[0][0].dtype == torch.float32 == total.dtype and total.isfinite()
    assert float(logs["sift_skipped"]) == 0
    exact, _ = parts.loss(parts.model, parts.batch())
    assert float(total.detach()) == pytest.approx(float(exact.detach()), rel=0.02)


def test_scaled_inner_gradient_of_fp16_is_unscaled_again(files, monkeypatch):
    """A power of two, so exact: the same delta bit for bit where nothing underflows."""
    made = recorded_delta(monkeypatch)
    for half in (False, True):
        parts = Parts(files, "mnli", half=half)
        parts.loss(parts.model, parts.batch())
    torch.testing.assert_close(made[0][0], made[1][0], rtol=0, atol=1e-9)


# Models

WITH_LAYER_NORM = [architecture for architecture in ARCHITECTURES if architecture.name != "xlnet"]


@pytest.mark.parametrize("architecture", WITH_LAYER_NORM, ids=lambda a: a.name)
def test_every_encoder_is_perturbed_behind_its_own_embeddings(architecture, tmp_path, monkeypatch):
    made = recorded_delta(monkeypatch)
    files = ModelFiles(name="m", path=architecture.write(tmp_path / "m", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    parts = Parts(files, "mnli")
    assert perturbed_module(parts.model) is getattr(parts.model, parts.model.base_model_prefix).embeddings.LayerNorm
    batch = parts.batch()
    total, logs = parts.loss(parts.model, batch)
    total.backward()
    padded = batch["attention_mask"] == 0
    first = (first_draw(batch["noise_seed"], made[0][0].shape[1:]) * 1e-2).clamp(-2e-2, 2e-2)
    moved = (made[0][0] - first).abs().amax(-1)
    assert (moved[padded] == 0).all() and (moved[~padded] > 0).any()
    assert float(logs["sift_skipped"]) == 0 and total.isfinite()


def test_model_without_such_a_layer_norm_is_refused(tmp_path):
    xlnet = next(architecture for architecture in ARCHITECTURES if architecture.name == "xlnet")
    recipe = small_recipe(tmp_path, model=str(xlnet.write(tmp_path / "m")))
    with pytest.raises(InputError, match=r"--sift: expected a model with one embeddings\.LayerNorm to perturb, xlnet has none"):
        finetune(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_such_layer_norms_are_refused(files):
    model = Parts(files, "mnli").model
    model.other = torch.nn.ModuleDict({"embeddings": torch.nn.ModuleDict({"LayerNorm": torch.nn.LayerNorm(4)})})
    with pytest.raises(InputError, match=r"has deberta\.embeddings\.LayerNorm, other\.embeddings\.LayerNorm"):
        perturbed_module(model)


# Runs


def small_recipe(root, **changes):
    data = root / "data"
    if not data.exists():
        write_mnli(data)
    small = {"train.max_steps": 12, "train.train_batch_size": 8, "train.warmup_steps": 0, "sift.weight": WEIGHT}
    return load_recipe(recipe_path("demo"), {"task": "mnli", "data": str(data), **small, **changes})


def steps(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("sift")
    model = write_model_config(root / "m", demo.model_directory(), hidden_dropout_prob=0.1)
    recipe = small_recipe(root, model=str(model))
    return finetune(recipe, root / "run"), root / "run", recipe


def test_every_step_logs_the_sift_loss_and_the_size_of_delta(trained):
    rows = steps(trained[1])
    assert all(row["sift_loss"] > 0 and row["sift_delta_norm"] > 0 and row["sift_skipped"] == 0 for row in rows)
    # sigma sqrt(numbers) is the norm of the draw, a little less for the cut at two sigma
    assert 0.1 < rows[0]["sift_delta_norm"] < 1e-2 * math.sqrt(64 * 64)


def test_saved_model_opens_in_plain_transformers_and_gives_the_same_probabilities(trained):
    result, run, recipe = trained
    assert result.recipe["sift"]["weight"] == WEIGHT
    model, tokenizer = (kind.from_pretrained(run / "model") for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    columns = load_table(TASKS["mnli"], TASKS["mnli"].evals[0], recipe.data).columns
    batch = tokenizer(columns["premise"], columns["hypothesis"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        plain = model.eval()(**batch).logits.softmax(-1).tolist()
    ours = [json.loads(line)["scores"] for line in (run / "predictions" / "validation_matched.jsonl").read_text().splitlines()]
    assert len(ours) == 20
    for row, probabilities in zip(ours, plain, strict=True):
        assert [row[model.config.id2label[i]] for i in range(3)] == pytest.approx(probabilities, abs=2e-6)  # six digits in the file


def test_resumed_run_is_bit_identical(trained, tmp_path):
    with interrupted_after(5, signal.SIGINT):
        finetune(trained[2], tmp_path / "run")
    finetune(trained[2], tmp_path / "run", resume=True)
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (tmp_path / "run", trained[1]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    keys = ("loss", "sift_loss", "sift_delta_norm")
    assert [[row[key] for key in keys] for row in steps(tmp_path / "run")] == [
        [row[key] for key in keys] for row in steps(trained[1])
    ]


@pytest.mark.sweep
def test_two_processes_give_what_one_gives(tmp_path):
    """Without dropout: the draws belong to the examples, so the gradient is the same mean."""
    write_mnli(tmp_path / "data")
    runs = []
    for start, name in ((lambda *words: [Command(*words)], "one"), (start_two, "two")):
        started = start(
            "mnli",
            "--recipe",
            "demo",
            "--data",
            tmp_path / "data",
            "--sift",
            "--max-steps",
            6,
            "--train-batch-size",
            7,
            "--warmup-steps",
            0,
            "--output",
            tmp_path / name,
        )
        said = [process.communicate() for process in started]
        assert not any(process.returncode for process in started), said
        runs.append(steps(tmp_path / name))
    for one, two in zip(*runs, strict=True):
        for key in ("loss", "sift_loss", "sift_delta_norm", "grad_norm"):
            assert two[key] == pytest.approx(one[key], rel=1e-4), key


# The command line and the recipes

PUBLISHED = {
    "deberta-v3-xsmall": (10, 1500, 5e-5, 3.0),
    "deberta-v3-small": (6, 1000, 3.5e-5, 5.0),
    "deberta-v3-base": (6, 1000, 1.5e-5, 5.0),
    "deberta-base": (6, 1000, 1.5e-5, 5.0),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_sift_recipe_of(model):
    """Source: microsoft/DeBERTa experiments/glue/mnli.sh at 4d7fe0b."""
    recipe = load_recipe(recipe_path(f"mnli/{model}-sift"))
    train = recipe.train
    assert (train.num_train_epochs, train.warmup_steps, train.learning_rate, recipe.sift.weight) == PUBLISHED[model]
    assert (train.train_batch_size, train.head_dropout, recipe.text.max_seq_length, recipe.dialect) == (64, 0.1, 256, "repo")
    assert recipe.runtime.precision == ("fp32" if model == "deberta-v3-small" else "fp16")
    assert published_weight(model) == recipe.sift.weight == PUBLISHED[model][3]
    assert replace(recipe.sift, weight=0.0) == SiftConfig()


def test_published_sift_row_stands_beside_sift_runs_alone():
    rows = {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832}
    with_sift = load_recipe(recipe_path("mnli/deberta-v3-xsmall-sift"))
    without = load_recipe(recipe_path("mnli/deberta-v3-xsmall-sift"), {"sift.weight": 0.0})
    task = TASKS["mnli"]
    assert why_not_compared(with_sift, task, rows) is None
    assert [row.value for row in beside_published(with_sift, task, {})] == [88.4, 88.5]
    assert "train.num_train_epochs" in why_not_compared(without, task, rows)
    weaker = load_recipe(recipe_path("mnli/deberta-v3-xsmall-sift"), {"sift.weight": 1.0})
    assert why_not_compared(weaker, task, rows) == "not the published recipe: sift.weight differs"
    large = load_recipe(recipe_path("mnli/deberta-v3-large-repo"), {"sift.weight": 5.0})
    assert why_not_compared(large, task, rows) == "no published number for deberta-v3-large with SiFT on mnli"


def test_run_without_sift_never_reaches_the_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sift, "_normalised", lambda model: 1 / 0)
    monkeypatch.setattr(sift.SiftLoss, "__call__", lambda *arguments: 1 / 0)
    result = finetune(small_recipe(tmp_path, **{"sift.weight": 0.0, "train.max_steps": 2}), tmp_path / "run")
    assert result.status == "complete" and "sift_loss" not in steps(tmp_path / "run")[0]
