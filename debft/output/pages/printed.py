"""This module has a record for each part of the page and of the Markdown, with everything as text."""

from dataclasses import dataclass

from markupsafe import Markup

from debft.output.pages.summary import Count

Links = list[tuple[str, str | None]]  # pieces of a text, each with its URL or None


@dataclass(frozen=True, kw_only=True)
class RunLink:
    """A run link leads from a seed to the line of its run on the page."""

    seed: int
    """The seed of the run."""
    anchor: str
    """The HTML id of its line."""


@dataclass(frozen=True, kw_only=True)
class PageCell:
    """A page cell is one score of the table as it is printed; None where there is nothing to print."""

    header: str
    """The header of its table column."""
    score: str
    """`<split>/<metric>`."""
    verdict: str
    """The verdict in one word."""
    verdict_text: str
    """The verdict with its reason."""
    symbol: str
    """The symbol of the verdict."""
    labels: list[str]
    """Why it does not count, and `our recipe` where nobody published one."""
    notes: list[int]
    """The numbers of its footnotes."""
    value: str | None
    """The number of the table, with its decimals."""
    cell: str
    """The whole cell verbatim."""
    spread: str
    """`± 0.2, 5 seeds` where the table says so, else empty."""
    mean: str | None
    """The mean of our runs."""
    sd: str | None
    """The standard deviation of our runs."""
    n: int
    """The number of our runs."""
    tolerance: str | None
    """How far off still counts as reproduced."""
    margin: str | None
    """The margin that the table states."""
    interval: str | None
    """The 95 % interval of our mean."""
    difference: str | None
    """Our mean minus the number of the table."""
    runs: list[RunLink]
    """The runs of its recipe."""


@dataclass(frozen=True, kw_only=True)
class PageRow:
    """A page row is a row of the table with its scores."""

    name: str
    """Its name, as printed."""
    cells: list[PageCell]
    """Its scores."""


@dataclass(frozen=True, kw_only=True)
class PageRun:
    """A page run is one run as it is printed; a dash stands where there is nothing to print."""

    id: str
    """Its directory below the output."""
    anchor: str
    """The HTML id of its line."""
    seed: int
    """Its seed."""
    status: str
    """What became of it."""
    symbol: str
    """The symbol of the status."""
    error: str
    """Why it failed, or what is damaged; empty where nothing is wrong."""
    href: str
    """The link to its directory."""
    directory: str
    """Its directory, relative to the report."""
    command: str
    """The command that made it."""
    rows: list[str]
    """The table rows that its recipe belongs to."""
    labels: list[str]
    """Why it does not count."""
    columns: list[str]
    """Its scores in the columns of its recipe."""
    scores: dict[str, str]
    """All its scores, by `<split>/<metric>`."""
    wall_time: str
    """Training and evaluation together, `1:02:03`."""
    speed: str
    """Training rows per second."""
    memory: str
    """The most memory it used, in GiB."""
    steps: str
    """Optimizer steps."""
    facts: list[tuple[str, str]]
    """What else is known of it, by name."""
    device: str
    """The device it ran on."""


@dataclass(frozen=True, kw_only=True)
class PageRecipe:
    """A page recipe is a recipe as it was when its runs ran; one that was changed in between is another one."""

    name: str
    """Its name."""
    hash: str
    """Its hash."""
    source: Links
    """Where its settings come from."""
    dialect: str
    """Its dialect."""
    columns: list[str]
    """The scores that the table of its runs shows."""
    runs: list[PageRun]
    """Its runs."""


@dataclass(frozen=True, kw_only=True)
class PageOtherRun:
    """This is a run that other code made, with the link to its directory."""

    id: str
    """Its directory below the output."""
    status: str
    """What became of it."""
    made_by: str
    """The code and the versions that made it."""
    href: str
    """The link to its directory."""


@dataclass(frozen=True, kw_only=True)
class PagePanel:
    """A page panel is a part of a figure, drawn."""

    label: str
    """What is seen, in words, for readers who do not see it."""
    svg: Markup
    """The <svg> element."""


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A page figure shows the panels of a drawing."""

    name: str
    """Its HTML id behind `figure-`, and its name as a file."""
    title: str
    """Its heading."""
    caption: str
    """What a reader must know to read it."""
    panels: list[PagePanel]
    """Its panels."""


@dataclass(frozen=True, kw_only=True)
class PageContent:
    """The page content is everything but the figures. Numbers are text, anchors are safe as an HTML id."""

    title: str
    """The title of the table."""
    name: str
    """The name of the table."""
    word: str
    """What the numbers of the table are: `published` or `frozen`."""
    source: Links
    """Where the numbers of the table come from."""
    note: Links
    """What a reader should know about the whole table."""
    rule: str
    """How a verdict is reached."""
    command: str
    """The command that made the report."""
    made: str
    """When it was made."""
    versions: dict[str, str]
    """The versions that made the report."""
    counts: list[Count]
    """How many scores have which verdict, and how many runs stopped."""
    summary: str
    """The same in one line."""
    missing: str | None
    """Why there is no score of ours at all."""
    legend: str
    """What the columns of the table of scores hold, and in which unit."""
    rows: list[PageRow]
    """The scores under their table rows, in table order."""
    notes: list[Links]
    """The footnotes, the first one numbered 1."""
    recipes: list[PageRecipe]
    """The runs under their recipes."""
    others: list[PageOtherRun]
    """The runs that other code made."""
