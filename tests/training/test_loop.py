"""Links 'optimizer, schedule, clipping, accumulation' of the chain: the loop against transformers' Trainer and against itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_texts, table_of, write_model_config
from transformers import Trainer, TrainingArguments

from debft.config.recipe import TrainConfig
from debft.data.batches import step_examples
from debft.data.encoding import encode
from debft.data.packing import Collator
from debft.data.rows import check_rows
from debft.errors import NotFiniteError
from debft.models.attention.use import is_packed, use_attention
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runtime.accelerator import build_accelerator
from debft.scoring.heads import LabelHead, plain_loss
from debft.tasks import TASKS
from debft.training.loop import optimizer_steps, step_seed
from debft.training.optimization import build_optimizer

HEAD = LabelHead(task=TASKS["mnli"], labels=TASKS["mnli"].labels)

STEPS, BATCH, ROWS = 50, 8, 100  # 100 rows in steps of 8: the last step of an epoch has 4
CONFIG = TrainConfig(learning_rate=1e-3, warmup_steps=10, train_batch_size=BATCH, max_steps=STEPS, seed=5)
NAMES = ("input_ids", "token_type_ids", "attention_mask")
ATTENTIONS = ("eager", "torch")


@pytest.fixture(scope="module")
def files(demo_model, tmp_path_factory):
    """A tiny DeBERTa-v2 with ordinary initial weights and no dropout."""
    directory = write_model_config(tmp_path_factory.mktemp("m") / "tiny", demo_model, initializer_range=0.02)
    return ModelFiles(name="tiny", path=directory)


@pytest.fixture(scope="module")
def split(files):
    labels = np.random.default_rng(0).integers(0, 3, ROWS).tolist()
    examples = check_rows(table_of(premise=random_texts(ROWS, 3), hypothesis=random_texts(ROWS, 4), label=labels), TASKS["mnli"])
    return encode(examples, build_tokenizer(files), max_seq_length=64, truncation="longest_first", seed=0, what="test", show=False)


def new_model(files, seed=1):
    return build_model(files, TASKS["mnli"], from_scratch=True, head_dropout=None, seed=seed, quiet=True)


def collator(attention="eager"):
    return Collator(pad_id=0, names=NAMES, device=torch.device("cpu"), packed=is_packed(attention))


def train(model, split, config=CONFIG, *, attention="eager", micro_batch_tokens=10_000, first_step=0, last_step=None, **options):
    use_attention(model, attention)
    accelerator, _ = build_accelerator("fp32")
    model, optimizer = accelerator.prepare(model, options.pop("optimizer", None) or build_optimizer(model, config))
    steps = optimizer_steps(
        accelerator,
        model,
        optimizer,
        split,
        config,
        collate=collator(attention),
        micro_batch_tokens=micro_batch_tokens,
        total_steps=config.max_steps,
        first_step=first_step,
        **{"loss_fn": plain_loss(HEAD)} | options,
    )
    return [log for log in steps if last_step is None or log.step <= last_step]


def relative_difference(ours, theirs):
    """The largest over the tensors of |ours - theirs| / |theirs|, as norms."""
    return max(
        float((a.double() - b.double()).norm().detach() / b.double().norm().detach())
        for a, b in zip(ours, theirs, strict=True)
        if b.norm() > 0
    )


@pytest.mark.parametrize("attention", [pytest.param("eager", marks=pytest.mark.sweep), "torch"])
def test_fifty_steps_equal_transformers_trainer(files, split, tmp_path, attention):
    """Card dialect, accumulation 1, dropout 0: losses and final weights. 13 steps are an epoch, the last of them is smaller."""
    ours, theirs = new_model(files), new_model(files)
    start = [p.detach().clone() for p in ours.parameters()]
    logs = train(ours, split, attention=attention)
    losses = []
    batches = [step_examples(k, CONFIG.seed, ROWS, BATCH).tolist() for k in range(STEPS)]
    collate = collator()

    class OnOurBatches(Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(
                range(ROWS), batch_sampler=batches, collate_fn=lambda ids: collate(split, np.array(ids))
            )

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            losses.append(float(loss.detach()))
            return loss

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        warmup_steps=10,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        adam_epsilon=1e-8,
        optim="adamw_torch",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    OnOurBatches(model=theirs, args=arguments, train_dataset=list(range(ROWS))).train()
    assert len(losses) == STEPS
    assert [log.loss for log in logs] == pytest.approx(losses, rel=1e-5)
    assert relative_difference(ours.parameters(), [p.detach() for p in theirs.parameters()]) < 1e-5
    assert relative_difference(ours.parameters(), start) > 1e-2  # it did train


@pytest.mark.parametrize("micro_batch_tokens", [150, *(pytest.param(tokens, marks=pytest.mark.sweep) for tokens in (1, 400))])
@pytest.mark.parametrize("attention", [pytest.param("eager", marks=pytest.mark.sweep), "torch"])
def test_accumulation_equals_one_batch(files, split, micro_batch_tokens, attention):
    """However a step is cut; the loss of every step and the weights after 50."""
    whole, cut = new_model(files), new_model(files)
    logs_whole = train(whole, split, attention=attention)
    logs_cut = train(cut, split, attention=attention, micro_batch_tokens=micro_batch_tokens)
    assert [log.loss for log in logs_cut] == pytest.approx([log.loss for log in logs_whole], rel=1e-5)
    assert relative_difference(cut.parameters(), [p.detach() for p in whole.parameters()]) < 1e-5


def test_loss_of_a_smaller_last_step_is_the_mean_of_what_it_has(files, split):
    model = new_model(files)
    logs = train(model, split, replace(CONFIG, learning_rate=1e-30, max_steps=13, warmup_steps=0))
    indices = step_examples(12, CONFIG.seed, ROWS, BATCH)
    assert logs[12].num_examples == len(indices) == 4
    model.eval()
    batch = collator()(split, indices)
    expected = torch.nn.functional.cross_entropy(model(**{n: batch[n] for n in NAMES}).logits, batch["labels"]).detach()
    assert logs[12].loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradient_is_no_further_from_float64_than_eager_float32(files, split, attention):
    """Cut into micro-batches, against float32 eager's own gradient of the whole padded batch.

    Both are off by rounding, about 3e-7 of the norm, and which of them is nearer is chance: over models and batches their ratio
    scatters by 0.08 around 1. The mean over six scatters by 0.03, so 1.1 is three times that.
    """

    def flat(gradients):
        return torch.cat([g.detach().flatten().double() for g in gradients])

    def eager(model, batch):
        return flat(
            torch.autograd.grad(model(**{n: batch[n] for n in NAMES}, labels=batch["labels"]).loss, list(model.parameters()))
        )

    ratios = []
    for seed in range(6):
        batch = collator()(split, step_examples(0, seed, ROWS, BATCH))
        seen, ours = [], new_model(files, seed)
        optimizer = build_optimizer(ours, CONFIG)
        optimizer.register_step_pre_hook(lambda *_, seen=seen, ours=ours: seen.append(flat(p.grad for p in ours.parameters())))
        config = replace(CONFIG, max_grad_norm=1e9, max_steps=1, warmup_steps=0, seed=seed)
        train(ours, split, config, attention=attention, micro_batch_tokens=150, optimizer=optimizer)
        exact = eager(new_model(files, seed).double(), batch)
        off, eagers = ((one - exact).norm() / exact.norm() for one in (seen[0], eager(new_model(files, seed), batch)))
        assert 0 < eagers < 2e-6  # it is float32 that is compared with float64
        ratios.append(float(off / eagers))
    assert np.mean(ratios) < 1.1, ratios


def test_gradient_is_clipped_on_the_global_norm_after_all_micro_batches(files, split):
    """The fused kernel clips while it updates the weights, and leaves the clipped gradients behind."""
    model = new_model(files)
    optimizer = build_optimizer(model, CONFIG)
    norms = []
    optimizer.register_step_post_hook(
        lambda *_: norms.append(float(torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()]))))
    )
    logs = train(
        model, split, replace(CONFIG, max_grad_norm=0.05, max_steps=3, warmup_steps=0), micro_batch_tokens=150, optimizer=optimizer
    )
    assert all(log.grad_norm > 0.05 for log in logs)
    assert norms == pytest.approx([0.05] * 3, rel=1e-4)


def with_dropout(files):
    model = new_model(files)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    return model


def test_dropout_of_a_step_depends_on_seed_and_step_alone(files, split):
    config = replace(CONFIG, max_steps=6)
    through = with_dropout(files)
    logs = train(through, split, config)
    again = with_dropout(files)
    torch.manual_seed(999)
    logs_again = train(again, split, config)
    assert [log.loss for log in logs] == [log.loss for log in logs_again]
    other = train(with_dropout(files), split, replace(config, seed=6))
    assert other[0].loss != logs[0].loss
    assert len({step_seed(s, k, r) for s in range(3) for k in range(50) for r in range(4)}) == 600


def test_step_with_dropout_is_the_same_however_it_is_cut(files, split):
    """Packed masks are those of the example. A weight of eight steps moves by rounding; another mask moves the first loss by 1e-3."""
    config = replace(CONFIG, max_steps=8)
    whole, cut = with_dropout(files), with_dropout(files)
    logs_whole = train(whole, split, config, attention="torch")
    logs_cut = train(cut, split, config, attention="torch", micro_batch_tokens=60)
    assert [log.loss for log in logs_cut] == pytest.approx([log.loss for log in logs_whole], rel=1e-5)
    assert relative_difference(cut.parameters(), [p.detach() for p in whole.parameters()]) < 1e-4


class OverflowingOnce:
    """An accelerator with a loss scale whose third backward pass overflows, as fp16 does now and then."""

    def __init__(self, accelerator):
        self.accelerator, self.scale, self.passes = accelerator, 65536.0, 0
        self.scaler = self

    def __getattr__(self, name):
        return getattr(self.accelerator, name)

    def get_scale(self):
        return self.scale

    def backward(self, loss):
        self.passes += 1
        self.accelerator.backward(loss * float("inf") if self.passes == 3 else loss)
        self.scale = self.scale / 2 if self.passes == 3 else self.scale


def test_step_that_overflows_is_tried_again_with_the_same_sequences_and_masks(files, split):
    """The stand-in's optimizer leaves the weights alone on an overflow, as torch's GradScaler makes it."""
    config = replace(CONFIG, max_steps=6, warmup_steps=0)
    smooth, bumpy = with_dropout(files), with_dropout(files)
    expected = train(smooth, split, config)
    accelerator = OverflowingOnce(build_accelerator("fp32")[0])
    optimizer = build_optimizer(bumpy, config)
    step = optimizer.step
    optimizer.step = lambda: step() if all(p.grad.isfinite().all() for p in bumpy.parameters()) else None
    logs = list(
        optimizer_steps(
            accelerator,
            bumpy,
            optimizer,
            split,
            config,
            collate=collator(),
            micro_batch_tokens=10_000,
            total_steps=6,
            loss_fn=plain_loss(HEAD),
        )
    )
    assert accelerator.passes == 7
    assert [log.overflows for log in logs] == [log.row()["overflows"] for log in logs] == [0, 0, 1, 0, 0, 0]
    assert expected[0].overflows is None and "overflows" not in expected[0].row()
    assert [log.loss for log in logs] == [log.loss for log in expected]
    assert all(torch.equal(a, b) for a, b in zip(smooth.parameters(), bumpy.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_not_finite_stops_before_the_weights_are_touched(files, split, kind):
    model = new_model(files)
    before = [p.detach().clone() for p in model.parameters()]

    def poisoned(model, batch):
        loss, parts = plain_loss(HEAD)(model, batch)
        if kind == "loss":
            return loss * float("nan"), parts
        loss.register_hook(lambda grad: grad * float("inf"))
        return loss, parts

    with pytest.raises(NotFiniteError, match=f"step 1: expected a finite {'loss' if kind == 'loss' else 'gradient norm'}, got"):
        train(model, split, loss_fn=poisoned)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_bf16_keeps_float32_weights_and_moments(files, split):
    model = new_model(files)
    accelerator, precision = build_accelerator("bf16")
    assert precision == "bf16"
    optimizer = build_optimizer(model, CONFIG)
    model, optimizer = accelerator.prepare(model, optimizer)
    logs = list(
        optimizer_steps(
            accelerator,
            model,
            optimizer,
            split,
            replace(CONFIG, max_steps=3, warmup_steps=0),
            collate=collator(),
            micro_batch_tokens=500,
            total_steps=3,
            loss_fn=plain_loss(HEAD),
        )
    )
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {t.dtype for state in optimizer.state.values() for t in state.values()} == {torch.float32}
    assert all(np.isfinite(log.loss) for log in logs)
