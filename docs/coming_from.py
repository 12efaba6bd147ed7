"""Write the table of debft/cli/foreign/flags.yaml into docs/pages/coming-from.md: `python docs/coming_from.py`."""

from pathlib import Path

from debft.cli.foreign.flags import Flag, section, table

PAGE = Path(__file__).parent / "pages" / "coming-from.md"
BEGIN, END = "<!-- the table below is written by docs/coming_from.py -->\n", "<!-- end of the table -->\n"
# Sections of the table with their headings, in the order of the page.
SECTIONS = {
    "trainer": "Trainer (`TrainingArguments`)",
    "model": "Model",
    "data": "Data",
    "classification": "`run_glue.py`, `run_classification.py`",
    "xnli": "`run_xnli.py`",
    "questions": "`run_qa.py`, `run_squad.py`",
    "loop": "`run_glue_no_trainer.py`",
    "deberta": "`python -m DeBERTa.apps.run`",
}
IMPORTED = {
    "key": "becomes the key",
    "special": "is taken over",
    "nothing": "not needed",
    "loss": "left out, and named",
    "error": "is an error",
}


def page_with_table(text: str) -> str:
    """Return the page with the table as flags.yaml has it now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n".join(_lines()) + "\n" + END + rest.partition(END)[2]


def _lines() -> list[str]:
    lines = []
    for name, heading in SECTIONS.items():
        lines += ["", f"### {heading}", "", "| flag | at debft | `import-command` |", "|---|---|---|"]
        flags = section(name)
        lines += [_row([flags[each] for each in row["flags"]]) for row in table()[name]]
    return [*lines, ""]


def _row(flags: list[Flag]) -> str:
    flag = flags[0]
    names = ", ".join(f"`--{each.name}`" for each in flags)
    ours = f"`{flag.ours}`" if flag.ours else ""
    text = ": ".join(part for part in (ours, flag.why) if part)
    same = f", unless it is {', '.join(flag.same)}" if flag.same else ""
    gone = f" (gone in {flag.gone})" if flag.gone else ""
    return f"| {names}{gone} | {text} | {IMPORTED[flag.does]}{f' `{flag.key}`' if flag.key else same} |".replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
