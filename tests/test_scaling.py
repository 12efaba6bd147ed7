"""benchmarks/scaling.py: the cost model in numbers that a hand can follow, and the constants that it takes from measured steps."""

import re
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling

    return scaling


@pytest.fixture
def model(scaling):
    import scaling_model

    return scaling_model


def test_model_adds_up_what_a_step_takes(model):
    """1 GFLOP on 4 processes of 1 GFLOP/s, a fifth of it padding, 32 MiB of gradients in 4 messages over 16 MiB/s."""
    work = model.Work(flop=1e9, layers=2, parameters=1e6, gradient_bytes=4 * model.MESSAGE)
    device = model.Device(flops=1e9, fixed_seconds=0.01, launch_seconds=1.0, memory_bytes=28e6)
    link = model.Link(name="", bytes=2 * model.MESSAGE, latency_seconds=0.001)
    step = model.step(work, device, link, 4, padding=0.2, imbalance=0.1)
    assert vars(step) == pytest.approx(
        {
            "compute": 0.25,
            "padding": 0.0625,  # 0.2 of 0.3125
            "imbalance": 0.03125,
            "fixed": 0.02,
            "launch": 2 - 0.36375,  # the host takes longer than what it starts
            "optimizer": 1.0,
            "exchange": 3.0,  # each sends 6 quarters of 32 MiB
            "latency": 0.024,  # 4 messages, 6 times passed on
        }
    )
    assert step.total == pytest.approx(sum(vars(step).values()))
    hidden = model.step(work, device, link, 4, padding=0.2, imbalance=0.1, overlapped=True)
    assert hidden.exchange == pytest.approx(3.0 - 2 / 3 * 2)  # behind two thirds of what the host takes
    fast = model.Link(name="", bytes=20 * model.MESSAGE)
    assert model.step(work, device, fast, 4, graphs=True, overlapped=True).exchange == pytest.approx(0.3 - 2 / 3 * 0.27)
    embeddings = model.Work(flop=1e9, layers=2, parameters=1e6, gradient_bytes=4 * model.MESSAGE, last_bytes=2 * model.MESSAGE)
    assert model.step(embeddings, device, fast, 4, overlapped=True).exchange == pytest.approx(0.15), "half of it comes last"


def test_model_of_one_process_has_no_wire_and_no_launches_where_they_are_recorded(model):
    work = model.Work(flop=1e9, layers=2, parameters=1e6, gradient_bytes=1e9)
    step = model.step(work, model.Device(flops=1e9, launch_seconds=9.0), model.Link(name="", bytes=1.0), 1, graphs=True)
    assert step.total == step.compute == 1.0


def test_constants_of_the_gpu_give_the_measured_steps_back(scaling, model):
    """Those that they are from, the one that is not recorded among them; the third is off by what the page says."""
    device = scaling.h100()
    works = [model.work_of(shape, tokens, active_rows=scaling.ROWS) for shape, tokens, _ in scaling.H100]
    computed = [1e3 * model.step(work, device, graphs=True).total for work in works]
    off = [one / ms - 1 for one, (_, _, ms) in zip(computed, scaling.H100, strict=True)]
    assert off == pytest.approx([0, 0, -0.35], abs=0.005)
    assert 1e3 * model.step(works[0], device).total == pytest.approx(scaling.NOT_RECORDED)


def test_sizes_are_those_of_the_models(model):
    """The bytes of gradients are within 3 % of what benchmarks/balance.py counts: biases and norms are left out."""
    for shape, counted in (("deberta-v3-xsmall", 117e6), ("deberta-v3-base", 405e6), ("deberta-v3-large", 1296e6)):
        assert model.work_of(shape, 1, active_rows=19_681).gradient_bytes == pytest.approx(counted, rel=0.03)


def test_page_has_the_tables_that_the_program_computes(scaling, shared, capsys):
    scaling.print_computed(*scaling.read(shared))
    page = (BENCHMARKS.parent / "docs" / "pages" / "scaling.md").read_text(encoding="utf-8")
    computed, shown = (
        [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d+ GPU", line)]
        for text in (capsys.readouterr().out, page)
    )
    assert [row[0] for row in shown] == [row[0] for row in computed] and len(computed) == 2 * len(scaling.LAYOUTS)
    for row, other in zip(shown, computed, strict=True):
        for cell, of_program in zip(row[1:], other[1:], strict=True):
            milliseconds = [float(text.partition(" (")[0].rpartition("/ ")[2].replace(",", "")) for text in (cell, of_program)]
            assert milliseconds[0] == pytest.approx(milliseconds[1], rel=0.02, abs=1.01), (row[0], cell)  # printed in whole ones
