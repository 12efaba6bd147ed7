"""benchmarks/speed.py on demo text and a tiny model: who is measured, and what its columns mean. The speeds themselves say nothing."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def speed(monkeypatch):
    """The modules (speed_table, speed_turns, speed_rows, speed_measure)."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed_measure
    import speed_rows
    import speed_table
    import speed_turns

    return speed_table, speed_turns, speed_rows, speed_measure


def script(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, BENCHMARKS / "speed.py", *map(str, arguments)], capture_output=True, text=True)


def small(out: Path, *options: object) -> list[dict]:
    """The lines of a small call."""
    done = script("--small", "--threads", 1, "--batch", 16, "--out", out, "--json", out / "lines.json", *options)
    assert done.returncode == 0, done.stderr
    assert "figures without meaning" in done.stdout
    return json.loads((out / "lines.json").read_text())


def check_columns(lines: list[dict]) -> None:
    """The columns of the lines of one row go together."""
    mean = lines[0]["tokens"] / lines[0]["examples"]
    speeds = {line["contender"][:2]: line["tokens"] for line in lines}
    for line in lines:
        assert line["tokens"] / line["examples"] == pytest.approx(mean)
        for ratio, other in (("vs_a", "A:"), ("vs_b", "B:")):
            assert line[ratio] == (pytest.approx(line["tokens"] / speeds[other]) if other in speeds else None)
        assert line["floor"] is None or 0 < line["floor"] < 1.5  # of two measurements on a busy machine
        assert line["peak_bytes"] > 2**27  # torch alone takes more
        if line["contender"].startswith("A:"):
            assert line["padding"] == pytest.approx(1 - mean / 64)  # --small cuts at 64 tokens, and A pads to that
        else:
            assert 0 <= line["padding"] < 1 - mean / 64


CARD, BEST = "A: transformers as the card runs it, fp32", "B: transformers at its best, fp32"


@pytest.mark.sweep
def test_speed_measures_each_contender_and_its_shares(tmp_path):
    lines = small(tmp_path, "--rows", "mnli-xsmall")
    assert [line["contender"] for line in lines] == [CARD, BEST, "debft fp32"]
    check_columns(lines)
    for line in lines:
        assert 0 < line["optimizer"] < 1
        assert line["dropout"] < 1  # the difference of two times: negative where one of them was disturbed


@pytest.mark.sweep
def test_speed_measures_evaluation_sift_and_growth(tmp_path):
    lines = small(tmp_path, "--rows", "sift-xsmall,evaluate-xsmall", "--growth")
    rows = {row: [line for line in lines if line["row"] == row] for row in ("sift-xsmall", "evaluate-xsmall", "growth")}
    assert {row: [line["contender"] for line in found] for row, found in rows.items()} == {
        "sift-xsmall": ["debft fp32, plain", "debft fp32, SiFT"],
        "evaluate-xsmall": [CARD, BEST, "debft fp32"],
        "growth": ["debft fp32, 100 rows", "debft fp32, 200 rows"],
    }
    for found in rows.values():
        check_columns(found)


def test_speed_without_data_says_what_it_needs():
    done = script()
    assert done.returncode == 2
    assert "--data: expected a directory of real text with mnli/train.tsv" in done.stderr


def test_speed_says_which_file_is_missing(tmp_path):
    done = script("--data", tmp_path)
    assert done.returncode == 2
    assert f"--data {tmp_path}: expected mnli/train.tsv in it, found none" in done.stderr


def test_speed_names_the_rows_that_there_are():
    done = script("--small", "--rows", "mnli")
    assert done.returncode == 2
    assert "--rows: expected mnli-xsmall, mnli-base" in done.stderr and "got mnli" in done.stderr


def test_line_is_made_of_the_median_round(speed):
    speed_table, turns, _, _ = speed
    rounds = [
        turns.Turn(seconds=seconds, examples=10, tokens=300.0, positions=400, optimizer_seconds=0.5, peak_bytes=peak)
        for seconds, peak in ((2.0, 5), (3.0, 9), (10.0, 7))
    ]
    line = speed_table.line("row", "debft", 10, rounds, mean_tokens=30.0, floor=200.0, without=[])
    assert (line.tokens, line.examples, line.padding, line.floor, line.peak_bytes) == (100.0, pytest.approx(100 / 30), 0.25, 0.5, 9)
    assert line.spread == pytest.approx((150 - 30) / 100)
    assert line.optimizer == pytest.approx(0.5 / 3)


def test_dropout_is_what_is_gone_without_it(speed):
    speed_table, turns, _, _ = speed
    on, off = turns.Turn(seconds=2.0, tokens=100), turns.Turn(seconds=3.0, tokens=200)
    line = speed_table.line("row", "debft", 1, [on], mean_tokens=1.0, floor=None, without=[(on, off)])
    assert line.dropout == pytest.approx(0.25)


def test_remarks_compare_sift_with_plain_steps_and_many_rows_with_few(speed):
    speed_table, turns, _, _ = speed

    def line(row, contender, seconds, peak):
        turn = turns.Turn(seconds=seconds, examples=1, tokens=10, peak_bytes=peak)
        return speed_table.line(row, contender, 1, [turn], mean_tokens=10, floor=None, without=[])

    lines = [line("sift", "debft fp32, plain", 1.0, 1), line("sift", "debft fp32, SiFT", 2.5, 1)]
    lines += [line("growth", "few", 2.0, 10), line("growth", "many", 2.1, 12)]
    sift, growth = speed_table.remarks(lines)
    assert sift.startswith("A step with SiFT takes 2.50 times as long as a plain one (debft fp32)")
    assert "time per real token 1.00, 1.05, peak memory 1.00, 1.20" in growth


def test_section_of_another_machine_stays(speed, tmp_path):
    write, results = speed[0].write_section, tmp_path / "RESULTS.md"
    results.write_text(f"# Measured\n\ntext\n\n{speed[0].NEXT}\n\n## Another\n")
    write(results, "one", "first")
    write(results, "two", "second")
    write(results, "one", "third")
    text = results.read_text()
    assert text.startswith("# Measured\n\ntext\n")
    assert "first" not in text and text.index("third") < text.index("second") < text.index("## Another")


def test_batches_of_alike_length_are_those_of_trainer_spread_over_all_lengths(speed):
    import numpy as np
    from speed_trainer import BatchesOfAlikeLength

    lengths = np.random.default_rng(0).permutation(400)
    sampler = iter(BatchesOfAlikeLength(lengths, 8))
    steps = [[lengths[next(sampler)] for _ in range(8)] for _ in range(5)]
    assert all(max(step) - min(step) == 7 for step in steps if max(step) != 399)  # Trainer puts the longest of all first
    means = sorted(np.mean(step) for step in steps)
    assert all(later - earlier > 30 for earlier, later in itertools.pairwise(means))


def test_every_shape_of_a_row_has_the_published_size(speed):
    """Source: the cards: 22, 86 and 86 million parameters without embeddings."""
    _, _, rows, _ = speed
    sizes = {name: rows.product_parameters(rows.config_of(row.shape)) for name, row in rows.ROWS.items()}
    assert sizes["mnli-xsmall"] == pytest.approx(21.2e6, rel=1e-2)
    assert sizes["mnli-base"] == sizes["xnli-mdeberta"] == pytest.approx(84.9e6, rel=1e-2)
    assert rows.config_of(rows.ROWS["xnli-mdeberta"].shape)["vocab_size"] == 251_000


def test_step_of_the_card_counts_the_passes_that_were_left_out(speed, monkeypatch):
    import speed_trainer

    counted, clock = {}, iter([0.0, 3.0, 100.0])  # at the begin, before the update, at the begin of the next step
    monkeypatch.setattr(speed_trainer.time, "perf_counter", lambda: next(clock))
    trainer = SimpleNamespace(sizes=((8, 310, 2048),), mean_tokens=40.0)
    pace = speed_trainer.Pace(SimpleNamespace(step=lambda **step: counted.update(step)), trainer, left_out=7, micro=8)
    pace.begun = True
    pace.on_pre_optimizer_step()
    pace.on_step_end()
    assert counted == {"examples": 64, "tokens": 64 * 40.0, "positions": 8 * 2048, "extra": 7 * 3.0}


class Orders:
    """In the place of a connection: gives orders, keeps what is sent, and ends the contender when no order is left."""

    def __init__(self, *orders) -> None:
        self.orders, self.sent = list(orders), []

    def recv(self):
        if not self.orders:
            raise KeyboardInterrupt
        return self.orders.pop(0)

    def send(self, message) -> None:
        self.sent.append(message)


@pytest.fixture
def turns(speed, monkeypatch):
    """speed_turns, whose clock sets no hooks around the optimizers of the tests behind these."""
    monkeypatch.setattr(speed[1], "OptimizerClock", lambda cuda: SimpleNamespace(take=lambda: None))
    return speed[1]


def test_turn_leaves_out_the_steps_before_it(turns):
    orders = Orders(turns.Order(steps=2, lead=1))
    side = turns.Turns(orders)
    side.begin()
    with pytest.raises(KeyboardInterrupt):
        for examples in (100, 20, 3):
            side.step(examples=examples, tokens=2 * examples, positions=4 * examples, extra=1000.0)
    ready, turn = orders.sent
    assert ready == "ready"
    assert (turn.examples, turn.tokens, turn.positions) == (23, 46, 92)
    assert turn.seconds > 2000  # what was left out of each step, and the time of both


def test_turn_takes_the_seconds_that_are_given_in_the_place_of_all_that_passed(turns):
    orders = Orders(turns.Order(steps=2))
    side = turns.Turns(orders)
    side.begin()
    with pytest.raises(KeyboardInterrupt):
        for seconds in (5.0, 7.0):
            side.step(examples=1, tokens=2, seconds=seconds)
    assert orders.sent[1].seconds == 12.0
    assert orders.sent[1].optimizer_seconds is None


def test_optimizer_clock_counts_one_step_where_a_step_calls_that_of_its_parent(speed):
    import torch

    class Twice(torch.optim.AdamW):
        def step(self, closure=None):
            return super().step(closure)

    _, turns, _, _ = speed
    clock = turns.OptimizerClock(cuda=False)
    assert clock.take() is None
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    Twice([weight]).step()
    assert len(clock._spans) == 1
    clock.stop()
    assert clock.take() > 0
    assert clock.take() is None


def test_contender_that_fails_is_named_and_the_others_are_measured(speed, capsys):
    _, turns, _, measure = speed
    setting = measure.Setting(data=None, out=Path(), timing=measure.SMALL, threads=1, precisions=None, cuda=False)

    class Child:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def turn(self, order):
            if self.fails:
                raise turns.ContenderFailed("B: out of memory")
            return turns.Turn(seconds=1.0)

    found = measure.take_turns({"A": Child(False), "B": Child(True)}, dict.fromkeys("AB", turns.Order(steps=1)), setting)
    assert found == {"A": [turns.Turn(seconds=1.0)]}
    assert setting.failed == ["B: out of memory"]
    assert "B: out of memory" in capsys.readouterr().err
