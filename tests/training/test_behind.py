"""On a GPU the host reads the figures of a step while the next one computes. Here a CPU does the same, beside steps read at once."""

import signal
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from interrupting import interrupted_after
from test_finetune import lines, tiny_recipe, weights
from test_loop import CONFIG, HEAD, collator, files, new_model, replace, split, train, with_dropout  # noqa: F401
from torch.utils._python_dispatch import TorchDispatchMode

from debft.errors import NotFiniteError
from debft.runs.directory import RunDirectory
from debft.runtime.accelerator import build_accelerator
from debft.scoring.heads import plain_loss
from debft.training import loop
from debft.training.figures import FiguresOnDevice, gathered
from debft.training.loop import optimizer_steps
from debft.training.optimization import build_optimizer
from debft.training.run import finetune

SIX = replace(CONFIG, max_steps=6, warmup_steps=2)


@pytest.fixture
def behind(monkeypatch):
    """From here on the CPU is read as a GPU is."""
    return lambda: monkeypatch.setattr(loop, "_may_run_behind", lambda device: True)


def copies(parameters):
    return [p.detach().clone() for p in parameters]


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def steps_of(model, split, config=SIX, loss_fn=None, **options):  # noqa: F811
    """Yield the logs; the optimizer is built for the model."""
    accelerator, _ = build_accelerator("fp32")
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config))
    return optimizer_steps(
        accelerator,
        model,
        optimizer,
        split,
        config,
        collate=collator(),
        micro_batch_tokens=10_000,  # one call of the loss a step
        total_steps=config.max_steps,
        loss_fn=loss_fn or plain_loss(HEAD),
        **options,
    )


def trajectory(files, split):  # noqa: F811
    """(log without time, weights after it) of each step that is read at once."""
    model = with_dropout(files)
    return [(replace(log, seconds=0), copies(model.parameters())) for log in steps_of(model, split)]


def test_figures_that_are_read_behind_are_those_that_are_read_at_once(files, split, behind):  # noqa: F811
    expected = trajectory(files, split)
    behind()
    model = with_dropout(files)
    logs = [replace(log, seconds=0) for log in steps_of(model, split, pause_after=lambda step: False)]
    assert [replace(log, settled=True) for log in logs] == [log for log, _ in expected]
    assert [log.settled for log in logs] == [False] * 5 + [True]
    assert equal(model.parameters(), expected[-1][1])


def test_weights_are_those_of_the_step_where_its_log_has_to_come_before_the_next(files, split, behind):  # noqa: F811
    expected = trajectory(files, split)
    behind()
    model, settled = with_dropout(files), []
    for log in steps_of(model, split, pause_after=lambda step: step in (1, 4)):
        if log.settled:
            settled.append(log.step)
            assert equal(model.parameters(), expected[log.step - 1][1])
    assert settled == [1, 4, 6]


def test_figures_are_read_while_the_next_step_computes(files, split, behind, monkeypatch):  # noqa: F811
    behind()
    order, read = [], FiguresOnDevice.read
    monkeypatch.setattr(FiguresOnDevice, "read", lambda figures: (order.append("read"), read(figures))[1])

    def loss(model, batch):
        order.append("step")
        return plain_loss(HEAD)(model, batch)

    list(steps_of(new_model(files), split, replace(SIX, max_steps=3), loss, pause_after=lambda step: False))
    assert order == ["step", "step", "read", "step", "read", "read"]


@pytest.mark.parametrize("told_in", [1, 4, 6])
def test_signal_is_heard_with_the_log_of_the_step_that_has_begun(files, split, behind, told_in):  # noqa: F811
    """It is told with the figures of a step, which come when the next one has begun: that one is finished."""
    expected = trajectory(files, split)
    behind()
    model, begun = with_dropout(files), []
    told = lambda: (begun.append(1), signal.SIGTERM if len(begun) >= told_in else 0)[1]  # noqa: E731
    for log in steps_of(model, split, pause_after=lambda step: False, signal=told):
        if log.signal:
            break
    assert (log.step, log.signal, log.settled) == (min(told_in + 1, 6), signal.SIGTERM, True)
    assert equal(model.parameters(), expected[log.step - 1][1])


@pytest.mark.parametrize("mode", ["at once", "behind"])
@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("bad", [1, 4])
def test_step_that_is_not_finite_is_named_and_leaves_the_weights_before_it(files, split, behind, bad, bias_correction, mode):  # noqa: F811
    """Also where the next one has begun by then, which would be finite."""
    config = replace(SIX, bias_correction=bias_correction)
    model, begun = with_dropout(files), []
    before = [copies(model.parameters()), *(copies(model.parameters()) for _ in steps_of(model, split, config))][bad - 1]
    if mode == "behind":
        behind()

    def poisoned(model, batch):
        loss, parts = plain_loss(HEAD)(model, batch)
        begun.append(float("nan") if len(begun) == bad - 1 else 1.0)
        return loss * begun[-1], parts

    model = with_dropout(files)
    with pytest.raises(NotFiniteError, match=f"^step {bad}: expected a finite loss, got nan"):
        list(steps_of(model, split, config, poisoned, pause_after=lambda step: mode == "at once"))
    assert len(begun) == bad + (mode == "behind")
    assert equal(model.parameters(), before)


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a number of the device: item(), float(), bool()."""

    def __init__(self):
        super().__init__()
        self.count, self.allowed = 0, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default and not self.allowed
        return function(*args, **kwargs or {})

    @contextmanager
    def reading(self):
        self.allowed = True
        yield
        self.allowed = False


@pytest.mark.parametrize("bias_correction", [True, False])
def test_host_waits_for_nothing_but_the_figures(files, split, behind, monkeypatch, bias_correction):  # noqa: F811
    behind()
    reads, read = HostReads(), FiguresOnDevice.read

    def allowed(figures):
        with reads.reading():
            return read(figures)

    monkeypatch.setattr(FiguresOnDevice, "read", allowed)
    with reads:
        config = replace(SIX, bias_correction=bias_correction)
        assert len(list(steps_of(new_model(files), split, config, pause_after=lambda step: False))) == 6
        assert reads.count == 0
        float(torch.ones(()))
    assert reads.count == 1  # it does count


def test_sums_signal_and_tokens_of_all_processes_are_one_message():
    messages = []

    def gather(own_S):
        messages.append(own_S.tolist())
        return torch.cat([own_S, own_S / 2])

    accelerator = SimpleNamespace(num_processes=2, gather=gather)
    figures = gathered(accelerator, {"loss": torch.tensor(1.5), "extra": torch.tensor(3.0)}, torch.tensor(0.25), 4, 512)
    read = figures.read()
    assert messages == [[1.5, 3.0, 4.0, 512.0]]
    assert (read.sums, read.grad_norm, read.signal) == ({"loss": 2.25, "extra": 4.5}, 0.25, 4)
    assert read.tokens == 256
    assert figures.not_finite() == 0.0


@pytest.mark.parametrize("sums", [{"loss": float("inf")}, {"loss": 1.0}])
def test_one_process_whose_loss_is_not_finite_stops_all(sums):
    accelerator = SimpleNamespace(num_processes=2, gather=lambda own: torch.cat([own, own * float("nan")]))
    figures = gathered(accelerator, {"loss": torch.tensor(sums["loss"])}, torch.tensor(1.0), 0)
    assert figures.not_finite() == 1.0


@pytest.mark.parametrize("stop_after", [3, *(pytest.param(step, marks=pytest.mark.sweep) for step in (1, 6, 7, 12))])
def test_run_that_reads_behind_is_stopped_and_resumed_as_one_that_does_not(tmp_path, tiny_data, behind, stop_after):
    """Every line of the log is there, and the weights are the same bit for bit, with checkpoints and evaluations in between.

    The log of a step comes when the next one has begun, and one more has begun before the signal is looked at.
    """
    recipe = tiny_recipe(tiny_data, **{"train.eval_steps": 4, "runtime.save_steps": 5})
    at_once, broken = RunDirectory(tmp_path / "at_once"), RunDirectory(tmp_path / "broken")
    expected = finetune(recipe, at_once.path)
    behind()
    with interrupted_after(stop_after, match=r"interrupted after step \d+ of 14"):
        finetune(recipe, broken.path)
    done = lines(broken.path / "steps.jsonl")[-1]["step"]
    assert stop_after <= done <= stop_after + 2
    assert (broken.checkpoints / f"step-{done:06d}").is_dir()
    result = finetune(recipe, broken.path, resume=True)
    assert (result.scores, result.num_tokens) == (expected.scores, expected.num_tokens)
    without_time = [[{**log, "seconds": 0} for log in lines(run.path / "steps.jsonl")] for run in (at_once, broken)]
    assert without_time[0] == without_time[1]
    assert lines(at_once.path / "evaluations.jsonl") == lines(broken.path / "evaluations.jsonl")
    assert equal(weights(at_once).values(), weights(broken).values())


@pytest.mark.gpu
def test_gpu_is_waited_for_in_no_step():
    """torch raises where the host waits for the device; the model is one that does not."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    import numpy as np

    from debft.data.encoding import EncodedSplit

    accelerator, _ = build_accelerator("bf16")
    model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 3))
    config = replace(SIX, bias_correction=False, max_steps=20)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config))
    ends = np.arange(8, 8 * 101, 8)
    ids = np.random.default_rng(0).integers(0, 50, 800).astype(np.int32)
    columns = {"ids_T": ids, "types_T": np.zeros(800, np.int8), "ends_S": ends, "labels_S": np.arange(100) % 3}
    split = EncodedSplit(**columns, truncated=0, longest=8)  # noqa: F811

    def loss(model, batch):
        logits = model(batch["input_ids"]).float().mean(1)
        return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum"), {}

    steps = optimizer_steps(
        accelerator,
        model,
        optimizer,
        split,
        config,
        collate=replace(collator(), device=accelerator.device),
        micro_batch_tokens=500,
        total_steps=20,
        loss_fn=loss,
        pause_after=lambda step: False,
    )
    first = [next(steps) for _ in range(3)]  # moments and pinned memory are allocated
    torch.cuda.set_sync_debug_mode("error")
    try:
        logs = first + [next(steps) for _ in range(15)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [log.step for log in logs] == list(range(1, 19))
