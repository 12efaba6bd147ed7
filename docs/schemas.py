"""Writes the JSON schemas of what scripts read: `python docs/schemas.py` in the checkout."""

import json
from pathlib import Path

from debft.config.schema import schema
from debft.output.pages.records import Report
from debft.output.tables.records import TablesDocument

# A newer version may add fields, so that a key which the schema does not name is no error.
SCHEMAS = {"report.schema.json": schema(Report, closed=False), "tables.schema.json": schema(TablesDocument, closed=False)}


def main() -> None:
    """Write each schema beside this file: of report.json, and of `debft tables --json`."""
    for name, content in SCHEMAS.items():
        Path(__file__).with_name(name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
