"""Writes the JSON schemas of what scripts read: `python docs/schemas.py` in the checkout."""

import json
from pathlib import Path

from debft.config.schema import schema
from debft.output.pages.records import Report
from debft.output.tables.records import TablesDocument
from debft.runs.analysis import Analysis
from debft.runs.result import RunResult
from debft.several.study_record import StudyRecord
from debft.several.summary import Summary

SCHEMAS = {
    "analysis.schema.json": Analysis,
    "report.schema.json": Report,
    "result.schema.json": RunResult,
    "study.schema.json": StudyRecord,
    "summary.schema.json": Summary,
    "tables.schema.json": TablesDocument,
}


def main() -> None:
    """Write the schema of each of these files beside this one, and that of `debft tables --json`."""
    for name, kind in SCHEMAS.items():
        content = schema(kind, closed=False)  # a newer version may add fields: a key that it does not name is no error
        Path(__file__).with_name(name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
