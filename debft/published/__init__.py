"""The published tables, cell by cell as printed, with source and notes."""

from dataclasses import dataclass
from pathlib import Path

from debft import yaml12

DIRECTORY = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One number of a table.

    score: our name of it, `validation_matched/accuracy`; cell: the whole cell verbatim, `88.1/88.3`;
    value: percent, None where the cell prints none for this score
    """

    table: str
    row: str
    score: str
    cell: str
    value: float | None
    source: str
    note: str | None


def table_names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def published_scores(model: str, task: str, sift: bool = False) -> tuple[PublishedScore, ...]:
    """Every published score of `model` (an alias) on `task`, () where no table has one."""
    found = []
    for name in table_names():
        table = yaml12.load(DIRECTORY / f"{name}.yaml")
        column = table["columns"].get(task)
        for row in table["rows"]:
            if column is None or row["model"] != model or row.get("sift", False) != sift:
                continue
            for score, text in zip(column["scores"], str(row[task]).split("/"), strict=True):
                value = float(text) if text not in ("-", "") else None
                found.append(
                    PublishedScore(
                        table=name,
                        row=row["row"],
                        score=score,
                        cell=str(row[task]),
                        value=value,
                        source=table["source"],
                        note=row.get("note"),
                    )
                )
    return tuple(found)
