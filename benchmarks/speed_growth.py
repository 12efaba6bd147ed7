"""Does a step stay as fast, and its memory as large, when there are more rows to train on?"""

import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from speed_measure import Setting, mean_tokens_of, order_of, start, take_turns
from speed_rows import ROWS
from speed_table import Line, line

GROWTH, SMALL_GROWTH = (1_000, 10_000, 100_000), (100, 200)  # training rows


def measure_growth(setting: Setting) -> list[Line]:
    """Measure debft on more and more rows: premises and hypotheses of MNLI, newly paired, so that all have alike lengths."""
    row, sizes = ROWS["mnli-xsmall"], SMALL_GROWTH if setting.small else GROWTH
    debft = next(one for one in setting.contenders(row) if one.kind == "debft")
    by_name = {f"debft {debft.precision}, {rows:,} rows": setting.out / f"growth-{rows}" for rows in sizes}
    for rows, directory in zip(sizes, by_name.values(), strict=True):
        _write_pairs(directory / "mnli", rows, str(setting.data) if setting.data else "demo")
    with ExitStack() as held:
        children = start(row, [replace(debft, name=name) for name in by_name], setting, held, by_name)
        turns = take_turns(children, dict.fromkeys(children, order_of(debft, row, setting.timing)), setting)
    if not turns:
        return []
    mean_tokens = mean_tokens_of([turn for of_one in turns.values() for turn in of_one])
    return [
        line("growth", name, setting.batch(row), of_one, mean_tokens=mean_tokens, floor=None, without=[])
        for name, of_one in turns.items()
    ]


def _write_pairs(directory: Path, rows: int, source: str) -> None:
    from debft.data.load import load_table
    from debft.tasks import TASKS

    task, draw = TASKS["mnli"], random.Random(rows)
    names = (*task.text_keys, task.label_key)
    directory.mkdir(parents=True, exist_ok=True)
    for split in task.splits:
        columns = [load_table(task, split, source).columns[name] for name in names]
        lines = ["\t".join(names)]
        for _ in range(rows if split is task.train else 100):
            cells = [str(draw.choice(column)) for column in columns]
            lines.append("\t".join(" ".join(cell.split()) for cell in cells))
        (directory / f"{split.name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
