"""This module writes the report: one page that needs nothing else, Markdown for READMEs, JSON, and the figures as files."""

import json
import re
from pathlib import Path

from markupsafe import Markup

from debft.output.pages.content import page_content
from debft.output.pages.drawing import Drawing, can_draw, render, render_inline
from debft.output.pages.figures import drawings
from debft.output.pages.printed import Links, PageCell, PageFigure, PageOtherRun, PagePanel, PageRecipe, PageRun
from debft.output.pages.records import Report
from debft.output.pages.summary import SYMBOLS
from debft.output.pages.templates import template
from debft.output.text import escaped
from debft.runs.storage import write_atomically

PAGE = "report.html.j2"


def write_report(report: Report, directory: Path) -> list[Path]:
    """Write `index.html`, `report.md`, `report.json` and `figures/*.svg, *.png`; return their paths, the page first.

    Equal reports give equal bytes. Figures without data are left out, and all of them where nothing can be drawn.
    """
    figures = drawings(report) if can_draw() else []
    files = {
        "index.html": page(report, figures),
        "report.md": markdown(report, figures),
        "report.json": json.dumps(report.as_dict(), indent=1, ensure_ascii=False) + "\n",
    }
    contents = {name: text.encode() for name, text in files.items()}
    for drawing in figures:
        contents[f"figures/{drawing.name}.svg"], contents[f"figures/{drawing.name}.png"] = render(drawing)
    # The page comes last: where it is new, everything it refers to is there.
    for name in reversed(contents):
        write_atomically(directory / name, contents[name])
    return [directory / name for name in contents]


def page(report: Report, figures: list[Drawing]) -> str:
    """Return the HTML page: no script, no request, its figures inside it."""
    text = template(PAGE).render(
        vars(page_content(report)), figures=[_page_figure(drawing) for drawing in figures], symbols=SYMBOLS, others_title=OTHERS
    )
    return text.strip() + "\n"


def _page_figure(drawing: Drawing) -> PageFigure:
    panels = [
        PagePanel(label=panel.label, svg=Markup(render_inline(panel, f"{drawing.name}-{number}")))
        for number, panel in enumerate(drawing.panels, start=1)
    ]
    return PageFigure(name=drawing.name, title=drawing.title, caption=drawing.caption, panels=panels)


def markdown(report: Report, figures: list[Drawing]) -> str:
    """Return Markdown for GitHub: the summary, a line per score, footnotes, the figures by relative path, a line per run."""
    content = page_content(report)
    blocks = [
        f"# {escaped(content.title)}",
        f"**{escaped(content.summary)}.**",
        f"Our own runs beside the {content.word} numbers: {_links(content.source)}",
        *([f"Note on the table: {_links(content.note)}"] if content.note else []),
        escaped(content.rule),
        *([escaped(content.missing)] if content.missing else []),
        escaped(content.legend),
        _table(_SCORES, [_score_line(row.name, cell) for row in content.rows for cell in row.cells], content.word),
        "\n".join(f"[^{number}]: {_links(note)}" for number, note in enumerate(content.notes, start=1)),
        *(f"![{escaped(d.title)}](figures/{d.name}.svg)\n\n{escaped(d.caption)}" for d in figures),
        _table(_RUNS, [_run_line(recipe, run) for recipe in content.recipes for run in recipe.runs], content.word),
        *([f"{OTHERS}:", "\n".join(map(_other_line, content.others))] if content.others else []),
        f"Made {escaped(content.made)} by {_code(content.command)} with "
        + escaped(", ".join(f"{name} {version}" for name, version in content.versions.items())),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


OTHERS = "Runs of the same recipe, rows and seed that other code or versions made, not counted"
_SCORES = ("row", "column", "score", "ours", "WORD", "difference", "verdict", "95 % interval", "n", "remarks")
_RUNS = ("run", "recipe", "seed", "status", "wall time", "examples/s", "device")


def _table(header: tuple[str, ...], lines: list[list[str]], word: str) -> str:
    if not lines:
        return ""
    header_line = [word if name == "WORD" else name for name in header]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header_line, ["---"] * len(header), *lines])


def _score_line(row: str, cell: PageCell) -> list[str]:
    ours = "–"
    if cell.mean is not None:
        sd = f" ± {cell.sd}" if cell.sd else ""
        ours = f"[{cell.mean}{sd}](index.html#{cell.runs[0].anchor})"
    value = cell.value or "–"
    printed = escaped(cell.value or "–") + ("" if cell.cell == value else f" of {_code(cell.cell)}")
    printed += f" ({cell.spread})" if cell.spread else ""
    notes = "".join(f"[^{number}]" for number in cell.notes)
    difference = (cell.difference or "–") + (f" (tolerance {cell.tolerance})" if cell.tolerance else "")
    return [
        escaped(row),
        escaped(cell.header),
        escaped(cell.score),
        ours,
        printed,
        difference,
        f"{cell.symbol} {escaped(cell.verdict_text)}",
        cell.interval or "–",
        str(cell.n),
        escaped(", ".join(cell.labels)) + notes,
    ]


def _run_line(recipe: PageRecipe, run: PageRun) -> list[str]:
    status = f"{run.symbol} {escaped(run.status)}" + (f": {escaped(run.error)}" if run.error else "")
    return [
        f"[{escaped(run.id)}]({run.href})",
        escaped(f"{recipe.name} {recipe.hash}"),
        str(run.seed),
        status,
        run.wall_time,
        run.speed,
        escaped(run.device),
    ]


def _other_line(other: PageOtherRun) -> str:
    return f"- [{escaped(other.id)}]({other.href}), {escaped(other.status)}: made by {escaped(other.made_by)}"


def _code(text: str) -> str:
    """Return a code span; text that would end it or the table cell is escaped instead."""
    line = " ".join(text.split())
    return escaped(line) if re.search(r"[`|<]", line) else f"`{line}`"


def _links(pieces: Links) -> str:
    return "".join(f"<{url}>" if url else _kept_spaces(piece) for piece, url in pieces)


def _kept_spaces(piece: str) -> str:
    inner = escaped(piece)
    return (" " if piece[:1].isspace() else "") + inner + (" " if piece[-1:].isspace() and inner else "")
