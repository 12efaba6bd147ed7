"""The reliability runs themselves: what counts as held, what an interrupted run does again, what the table says."""

import os
import time
from dataclasses import replace
from pathlib import Path

import many_signals
import pytest
from harness import HEADER, Log, find_parts, row_of, run_cases, table, with_rows
from parts import Case, Part


def held(directory: Path) -> str:
    assert not list(directory.iterdir()), "the directory of a case is empty"
    (directory / "file").touch()
    print("not shown")
    return "as it should"


def fails(directory: Path) -> str:
    raise AssertionError("1 bit\nchanged")


def dies(directory: Path) -> str:
    print("the last words", flush=True)
    os._exit(3)


def raises(directory: Path) -> str:
    raise KeyError("a bug of the case")


def part_of(*runs) -> Part:
    return Part(name="fake", claim="0 lost", cases=lambda: [Case(name=f"case-{i}", run=run) for i, run in enumerate(runs)], few=2)


def log_of(directory: Path, part: Part, *, seconds: float = 60.0, jobs: int = 1) -> Log:
    """Run the cases of the part, and return the log as the next run reads it."""
    log = Log(directory / "log.jsonl", part, "0123")
    run_cases(list(part.cases()), log, jobs=jobs, until=time.monotonic() + seconds)
    return Log(directory / "log.jsonl", part, "0123")


def test_case_that_fails_dies_or_raises_counts_as_failed_and_the_others_run(tmp_path, capsys):
    log = log_of(tmp_path, part_of(fails, dies, raises, held), jobs=2)
    assert log.cases(held=True) == ["case-3"]
    words = {name: row["words"] for name, row in log.rows.items()}
    assert (words["case-0"], words["case-3"]) == ("1 bit changed", "as it should")
    assert words["case-1"] == "the process ended with 3; its last line: the last words"
    assert words["case-2"].endswith("its last line: KeyError: 'a bug of the case'")
    said = capsys.readouterr().err
    assert "fake case-0: failed: 1 bit changed (see " in said and "not shown" not in said
    assert sorted(path.name for path in (tmp_path / "fake").iterdir()) == [
        *(f"case-{number}{end}" for number in range(3) for end in ("", ".out"))
    ]


def test_next_run_does_what_did_not_hold_and_what_another_code_did(tmp_path):
    log_of(tmp_path, part_of(held, fails))
    log = log_of(tmp_path, part_of(dies, held))  # the first is not run again, the second holds now
    assert log.cases(held=True) == ["case-0", "case-1"] and log.cases(held=False) == []
    assert Log(tmp_path / "log.jsonl", log.part, "4567").rows == {}


def test_no_case_begins_after_the_time_is_up(tmp_path):
    assert log_of(tmp_path, part_of(held, held), seconds=0).rows == {}


def test_half_a_line_of_an_interrupted_run_is_left_out(tmp_path):
    log = log_of(tmp_path, part_of(held, held))
    text = log.path.read_text()
    log.path.write_text(text[:-20])  # the line of case-1
    assert Log(log.path, log.part, "0123").cases(held=True) == ["case-0"]
    assert log_of(tmp_path, log.part).cases(held=True) == ["case-0", "case-1"]


def test_table_keeps_the_rows_of_parts_that_were_not_run(tmp_path):
    log = log_of(tmp_path, part_of(held, fails, held))
    row = row_of(log)
    assert row[:7] == ["fake", "2", "1", "3", "0", "0 lost", "`make test-reliability PART=fake`"]
    other = ["other", "9", "0", "9", "0", "a claim", "a command", "a day"]
    text = with_rows("# Title\n\nWords.\n\n", [other, ["fake", "0", "0", "3", "0", "", "", ""]])
    assert with_rows(text, [row]) == "# Title\n\nWords.\n\n" + table([row, other])
    assert text.count(HEADER[0]) == 1


def test_what_held_with_other_code_counts_on():
    def before(text: str, held: str, code: str) -> tuple[str, str]:
        text = with_rows(text, [["fake", held, "0", "9", "0", "a claim", "a command", f"a day, 1.0, `{code}`"]])
        return text, text.splitlines()[-1].split(" | ")[4]

    text, count = before("# Title\n\n", "1,000", "a")
    assert count == "0"
    text, count = before(text, "1,003", "a")  # the same run, gone on with
    assert count == "0"
    text, count = before(text, "20", "b")
    assert count == "1,003"
    assert before(text, "5", "c")[1] == "1,023"


def test_figure_of_a_part_is_in_its_row(tmp_path, capsys):
    part = replace(part_of(held, fails), figure=lambda said: f"{len(said)} said it")
    assert "0 lost; 1 said it" in row_of(log_of(tmp_path, part))


def test_slowest_end_is_told_apart_by_how_busy_the_machine_was(monkeypatch):
    said = []
    for busy, seconds in ((1.0, 0.4), (1.0, 2.5), (9.0, 7.0)):
        monkeypatch.setattr(many_signals, "busy", lambda busy=busy: busy)
        said.append(f"exit code 143 {many_signals.after(seconds)}, step 3 saved")
    assert many_signals.slowest(said) == "the slowest took 2.5 s on an idle machine and 7.0 s on a busy one"


def test_every_part_has_names_of_its_own_and_few_cases():
    for name, (part, code) in find_parts().items():
        cases = list(part.cases())
        names = [case.name for case in cases]
        assert len(set(names)) == len(names) and len(part.few_cases()) == min(part.few, len(cases)), name
        assert len(code) == 12


@pytest.mark.parametrize(("few", "numbers"), [(1, [0]), (2, [0, 2]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_few_cases_are_spread_over_all(few, numbers):
    part = Part(name="fake", claim="", cases=lambda: [Case(name=str(i), run=held) for i in range(5)], few=few)
    assert [int(case.name) for case in part.few_cases()] == numbers
