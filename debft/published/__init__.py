"""The published tables, cell by cell as printed, with source and notes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft import yaml12

DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One number of a table.

    score: our name of it, `validation_matched/accuracy`; cell: the whole cell verbatim, `88.1/88.3`;
    value: percent, None where the cell prints none for this score; spread: the `0.2` of `79.8+/-0.2`
    """

    table: str
    row: str
    score: str
    cell: str
    value: float | None
    spread: float | None
    source: str
    note: str | None


def table_names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def published_scores(model: str, task: str, sift: bool = False) -> tuple[PublishedScore, ...]:
    """Every published score of `model` (an alias) on `task`, () where no table has one."""
    found = []
    for name in table_names():
        table = yaml12.load(DIRECTORY / f"{name}.yaml")
        columns = {key: column for key, column in table["columns"].items() if column.get("task", key) == task}
        for row in table["rows"]:
            if row["model"] != model or row.get("sift", False) != sift:
                continue
            found += [cell for key, column in columns.items() if key in row for cell in _cells(table, row, str(row[key]), column)]
    return tuple(found)


def _cells(table: dict[str, Any], row: dict[str, Any], cell: str, column: dict[str, Any]) -> list[PublishedScore]:
    """The scores that one cell prints, `88.1/88.3` or `79.8+/-0.2`."""
    parts = [cell] if len(column["scores"]) == 1 else cell.split("/")
    found = []
    for score, text in zip(column["scores"], parts, strict=True):
        number, _, spread = text.partition("+/-")
        value = float(number) if number not in ("-", "") else None
        found.append(
            PublishedScore(
                table=table["name"], row=row["row"], score=score, cell=cell, value=value,
                spread=float(spread) if spread else None, source=table["source"], note=row.get("note") or table.get("note"),
            )
        )  # fmt: skip
    return found
