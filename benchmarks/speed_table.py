"""The lines of `speed.py`: what the turns of a contender say, as a table, and the section of RESULTS.md that holds it."""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from speed_turns import Turn

BEGIN, END = "<!-- speed on {machine} -->", "<!-- end of speed on {machine} -->"
NEXT = "<!-- speed on other machines -->"
COLUMNS = (
    "row",
    "contender",
    "batch",
    "examples/s",
    "tokens/s",
    "ms/step",
    "spread",
    "padding",
    "dropout",
    "optimizer",
    "peak GiB",
    "of A",
    "of the floor",
    "x A",
    "x B",
)
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Line:
    """A contender in a row; None where a thing was not measured or there is nothing to compare with.

    batch: sequences of a step, None of an evaluation
    tokens: real tokens a second, the median over the rounds; examples: the same by the mean length of a sequence
    spread: (fastest - slowest) / median of the rounds
    padding: share of the positions that are padding
    dropout: share of a step that is gone where dropout is 0
    optimizer: share of a step inside of the optimizer's step()
    peak_bytes: of memory
    floor: share of the speed at which the products alone would run, 6 FLOP per parameter of them and real token; in an evaluation
        2, with SiFT 16
    vs_a, vs_b: how many times as fast as A and B
    peak_vs_a: memory as a multiple of A's
    attention: what computed it, where debft said so
    """

    row: str
    contender: str
    batch: int | None
    examples: float
    tokens: float
    spread: float
    padding: float | None
    dropout: float | None
    optimizer: float | None
    peak_bytes: int
    floor: float | None
    vs_a: float | None = None
    vs_b: float | None = None
    peak_vs_a: float | None = None
    attention: str | None = None

    def cells(self) -> list[str]:
        return [
            self.row,
            self.contender + (f" (attention {self.attention})" if self.attention else ""),
            "-" if self.batch is None else f"{self.batch}",
            f"{self.examples:,.1f}" if self.examples < 100 else f"{self.examples:,.0f}",
            f"{self.tokens:,.0f}",
            "-" if self.batch is None else _milliseconds(1000 * self.batch / self.examples),
            _percent(self.spread),
            _percent(self.padding),
            _percent(self.dropout),
            _percent(self.optimizer),
            f"{self.peak_bytes / GIB:.2f}",
            "-" if self.peak_vs_a is None else f"{self.peak_vs_a:.2f}",
            _percent(self.floor),
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in (self.vs_a, self.vs_b)),
        ]


def line(
    row: str,
    contender: str,
    batch: int,
    turns: list[Turn],
    *,
    mean_tokens: float,
    floor: float | None,
    without: list[tuple[Turn, Turn]],
) -> Line:
    """Make the line of a contender.

    mean_tokens: of a sequence; floor: real tokens a second of the products alone
    without: turns (with, without) dropout that were done one after the other
    """
    speeds = [turn.tokens / turn.seconds for turn in turns]
    tokens = statistics.median(speeds)
    positions = sum(turn.positions or 0 for turn in turns)
    optimizer = [turn.optimizer_seconds / turn.seconds for turn in turns if turn.optimizer_seconds is not None]
    dropout = [1 - (off.seconds / off.tokens) / (on.seconds / on.tokens) for on, off in without]
    return Line(
        row=row,
        contender=contender,
        batch=batch,
        examples=tokens / mean_tokens,
        tokens=tokens,
        spread=(max(speeds) - min(speeds)) / tokens,
        padding=1 - sum(turn.tokens for turn in turns) / positions if positions else None,
        dropout=statistics.median(dropout) if dropout else None,
        optimizer=statistics.median(optimizer) if optimizer else None,
        peak_bytes=max(turn.peak_bytes for turn in turns),
        floor=tokens / floor if floor else None,
    )


def with_ratios(lines: list[Line]) -> list[Line]:
    """Return the lines of one row with their ratios to A and B, where those are among them."""
    speeds = {one.contender[:2]: one.tokens for one in lines if one.contender[:2] in ("A:", "B:")}
    a, b = speeds.get("A:"), speeds.get("B:")
    peak = next((one.peak_bytes for one in lines if one.contender.startswith("A:")), None)
    return [
        replace(one, vs_a=a and one.tokens / a, vs_b=b and one.tokens / b, peak_vs_a=peak and one.peak_bytes / peak)
        for one in lines
    ]


def table(lines: list[Line]) -> str:
    """Return a Markdown table, its columns aligned for the terminal as well."""
    rows = [list(COLUMNS), *(one.cells() for one in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    texts = [
        "| "
        + " | ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) if i < 2 else "-" * (width + 1) + ":" for i, width in enumerate(widths)) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def remarks(lines: list[Line]) -> list[str]:
    """Return sentences on what the columns do not compare: SiFT with plain steps, more rows with few."""
    by_name = {one.contender: one for one in lines}
    said = [
        f"A step with SiFT takes {by_name[f'{name}, plain'].tokens / one.tokens:.2f} times as long as a plain one ({name}); "
        "by floating-point operations it would be 2.67."
        for one in lines
        for name, comma, sift in [one.contender.rpartition(", ")]
        if sift == "SiFT" and f"{name}, plain" in by_name
    ]
    growth = [one for one in lines if one.row == "growth"]
    if growth:
        times = ", ".join(f"{growth[0].tokens / one.tokens:.2f}" for one in growth)
        memory = ", ".join(f"{one.peak_bytes / growth[0].peak_bytes:.2f}" for one in growth)
        said.append(f"From few rows to many: time per real token {times}, peak memory {memory} times that of the first.")
    return said


def write_section(results: Path, machine: str, text: str) -> None:
    """Put `text` into the file in the place of what was written for this machine before, else before NEXT, else at the end."""
    before = results.read_text(encoding="utf-8") if results.is_file() else "# Measured\n"
    begin, end = BEGIN.format(machine=machine), END.format(machine=machine)
    section = f"{begin}\n{text.strip()}\n{end}"
    if begin in before and end in before:
        head, _, rest = before.partition(begin)
        _, _, tail = rest.partition(end)
        after = head + section + tail
    elif NEXT in before:
        after = before.replace(NEXT, f"{section}\n\n{NEXT}")
    else:
        after = before.rstrip("\n") + f"\n\n{section}\n"
    results.write_text(after, encoding="utf-8")


def _milliseconds(time: float) -> str:
    return f"{time:,.0f}" if time >= 100 else f"{time:.3g}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}%"
