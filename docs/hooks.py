"""What the site is built from beside its pages: the commands, the keys and the recipes as the program itself has them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from debft.cli import main as cli
from debft.library.options import OPTIONS
from debft.output.recipes import explain_keys, recipes_list, scientific

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ("demo.svg", "report.png")
# A link from one file of the repository to another: where it leads on the site.
ON_THE_SITE = {"benchmarks/RESULTS.md": "measured.md", "README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the pictures and the schemas to those in docs/pages."""
    pages = {
        "commands.md": commands(),
        "recipe-keys.md": recipe_keys(),
        "recipe-list.md": recipe_list(),
        "result-json.md": result_fields(),
        "measured.md": (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8"),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    for path in (*(ROOT / "docs" / name for name in PICTURES), *(ROOT / "docs").glob("*.schema.json")):
        files.append(File.generated(config, f"files/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **others: Any) -> str:
    """Return a page with the links of the site in place of those from file to file."""
    for path, page in ON_THE_SITE.items():
        markdown = re.sub(rf"\]\((?:\.\./)*{re.escape(path)}", f"]({page}", markdown)
    return re.sub(r"\]\(\.\./([\w.]+\.(?:svg|png|schema\.json))\)", r"](files/\1)", markdown)


def commands() -> str:
    """Return the page of all commands with their arguments and options, as `--help` has them."""
    lines = ["# Commands", "", "Made from the program: `debft COMMAND --help` prints the same.", ""]
    of_mnli: list[str] = []
    for name, command in leaves(typer.main.get_command(cli.app), "debft"):
        options = parameters(name, command)
        of_mnli = of_mnli or options
        if options is not of_mnli and not set(of_mnli) - set(options):
            own = [row for row in options[2:] if row not in of_mnli]
            options = ["It takes the options of [debft mnli](#debft-mnli)" + (", and:" if own else "."), ""]
            options += [*of_mnli[:2], *own, ""] if own else []
        lines += [f"## {name}", "", plain(command.help or ""), "", *example(command), *options]
    return "\n".join(lines)


def leaves(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give the commands below a group that do something, each with its whole name; of `debft search` one stands for all tasks."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            word, command = f"{word} TASK", command.commands["text"]
        if not command.hidden:
            yield f"{name} {word}", command


def example(command: Any) -> list[str]:
    """Return the example that stands below a command's help."""
    text = plain(command.epilog or "")
    return [f"Example: `{text.removeprefix('Example: ')}`", ""] if text else []


def parameters(name: str, command: Any) -> list[str]:
    """Return the table of a command's arguments and options."""
    context = typer.Context(command, info_name=name)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [f"| `{record[0].replace('|', ' or ')}` | {cell(record[1])} |" for record in records if record]
    return ["| argument or option | |", "|---|---|", *rows, ""] if rows else []


def plain(text: str) -> str:
    """Return a help text without the marks of the terminal's colours."""
    return re.sub(r"\[/?(?:bold|dim|cyan|green|yellow|red)\]", "", text).strip()


def cell(text: str) -> str:
    """Return a text as one cell of a Markdown table."""
    return plain(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def recipe_keys() -> str:
    """Return the page of all keys of a recipe: what each means, may be, and is by default."""
    flags = {option.key: option.typed for option in OPTIONS if option.key}
    lines = ["# Keys of a recipe", "", "Made from the program: `debft recipes --keys` prints the same.", ""]
    for line in explain_keys(None, flags):
        if not line.strip():
            continue
        if line.startswith("      "):  # what a key means; a long text has several lines
            lines.append(f"    {line.strip()}")
        elif line.startswith("  "):
            key, _, values = line.strip().partition("  ")
            lines += ["", f"- `{key}` {values.strip()}", ""]
        else:
            section, _, text = line.partition(":")
            lines += ["", f"## {section}", "", text.strip(), ""]
    return "\n".join(lines) + "\n"


def recipe_list() -> str:
    """Return the page of all packaged recipes, with the source of each."""
    lines = ["# All recipes", "", "Made from the program: `debft recipes` lists them, `debft recipes NAME` shows one whole.", ""]
    columns = ("recipe", "defaults", "epochs", "warm-up", "learning rate", "batch", "SiFT", "source")
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in recipes_list():
        numbers = [f"{row['num_train_epochs']:g}", f"{row['warmup_steps']:g}", scientific(row["learning_rate"])]
        others = str(row["train_batch_size"]), str(row["sift_weight"] or "-"), row["source"] or ""
        lines.append(f"| {' | '.join(cell(text) for text in (row['name'], row['dialect'], *numbers, *others))} |")
    return "\n".join(lines) + "\n"


def result_fields() -> str:
    """Return the page of all fields of `result.json`, from its schema."""
    fields = json.loads((ROOT / "docs" / "result.schema.json").read_text(encoding="utf-8"))["properties"]
    lines = ["# result.json", "", "Made from [its schema](files/result.schema.json), as `--json` prints it.", ""]
    return "\n".join([*lines, "| field | holds |", "|---|---|", *field_rows("", fields)]) + "\n"


def field_rows(above: str, fields: dict[str, Any]) -> Iterator[str]:
    """Give a row of the table for each field, those of an object below it."""
    for name, field in fields.items():
        yield f"| `{above}{name}` | {cell(field.get('description', ''))} |"
        yield from field_rows(f"{above}{name}.", field.get("properties", {}))
