"""How `speed.py` measures: contenders of a row take turns, and what the turns took becomes the lines of its table."""

import importlib.util
import json
import random
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from speed_rows import (
    FLASH,
    FLASHDEBERTA,
    PRODUCTS,
    ROWS,
    Contender,
    Job,
    Row,
    config_of,
    contenders,
    make_shape,
    product_parameters,
)
from speed_table import Line, line, with_ratios
from speed_turns import Child, Order, Turn

GROWTH, SMALL_GROWTH = (1_000, 10_000, 100_000), (100, 200)  # training rows


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How often a thing is done.

    steps, card_steps: of a turn, of all and of A
    warm_up: steps before the first turn, beside the very first; lead: steps at the begin of each turn that are not measured
    rounds: turns of each contender; card_parts, eval_rows, card_rows: as in Job
    """

    steps: int
    card_steps: int
    rounds: int
    warm_up: int
    lead: int
    card_parts: int
    eval_rows: int
    card_rows: int


ON_CPU = Timing(steps=2, card_steps=1, rounds=3, warm_up=0, lead=0, card_parts=2, eval_rows=128, card_rows=32)
ON_GPU = Timing(steps=30, card_steps=3, rounds=3, warm_up=30, lead=1, card_parts=0, eval_rows=2000, card_rows=2000)
SMALL = Timing(steps=1, card_steps=1, rounds=1, warm_up=0, lead=0, card_parts=2, eval_rows=16, card_rows=8)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What holds for all rows of a call.

    data: None for --small, which takes the demo; precisions: of debft, None for the machine's; batch_of_all: in the place of the
    rows' own
    """

    data: Path | None
    out: Path
    timing: Timing
    threads: int
    precisions: tuple[str, ...] | None
    cuda: bool
    batch_of_all: int | None = None

    @property
    def small(self) -> bool:
        return self.data is None

    def contenders(self, row: Row) -> list[Contender]:
        half = has_bf16(self.cuda) and not self.small
        usual = ("bf16",) if self.cuda else ("fp32", "bf16") if half else ("fp32",)
        flash = [name for name, module in ((FLASH, "disentangled_flash"), (FLASHDEBERTA, "flashdeberta")) if installed(module)]
        return contenders(row, self.precisions or usual, "bf16" if half else "fp32", tuple(flash) if self.cuda else ())

    def config(self, row: Row) -> dict:
        if not self.small:
            return config_of(row.shape)
        from debft.data.sources.demo.model import model_directory

        config = json.loads((model_directory() / "config.json").read_text())
        return config | {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 512}

    def shape(self, row: Row, dropout: bool) -> Path:
        if self.small:
            from debft.data.sources.demo.model import model_directory

            vocabulary = model_directory() / "spm.model"
        else:
            vocabulary = self.data / "tokenizer" / "deberta-v3" / "spm.model"
        name = f"{'demo' if self.small else row.shape}{'' if dropout else '-without-dropout'}"
        return make_shape(self.out / "shapes" / name, self.config(row), vocabulary, dropout=dropout)

    def job(self, row: Row, contender: Contender, data: Path | None = None) -> Job:
        name = "".join(
            letter if letter.isalnum() else "-" for letter in f"{row.name}-{contender.name}{'' if contender.dropout else '-0'}"
        )
        data = data or (self.data / row.folder if self.data else None)
        return Job(
            contender=contender,
            row=row,
            data=str(data) if data else "demo",
            shape=self.shape(row, contender.dropout),
            out=self.out / name,
            log=self.out / f"{name}.log",
            batch=self.batch(row),
            card_parts=self.timing.card_parts,
            eval_rows=self.timing.eval_rows,
            card_rows=self.timing.card_rows,
            overrides={"text.max_seq_length": 64} if self.small else {},
            threads=self.threads,
            cuda=self.cuda,
        )

    def batch(self, row: Row) -> int:
        if self.batch_of_all or not self.cuda:
            return self.batch_of_all or row.cpu_batch
        from debft.config.packaged import recipe_path
        from debft.config.reading import load_recipe

        return load_recipe(recipe_path(row.recipe)).train.train_batch_size


def measure(row: Row, setting: Setting) -> list[Line]:
    """Measure the contenders of a row and return their lines. Raises ContenderFailed."""
    timing, them = setting.timing, setting.contenders(row)
    precisions = list(dict.fromkeys(contender.precision for contender in them))
    products = [Contender(name=f"products {precision}", kind=PRODUCTS, precision=precision) for precision in precisions]
    with ExitStack() as held:
        children = _start([setting.job(row, one) for one in (*them, *products)], held)
        turns = _rounds(children, {c.name: _order(c, row, timing) for c in (*them, *products)}, timing)
        switched = {c.name: _switched(children[c.name], c, row, timing) for c in them if c.kind != "debft" and row.kind == "train"}
    for contender in them if row.kind == "train" else ():
        if contender.kind == "debft":
            switched[contender.name] = _beside_itself_without_dropout(row, setting, contender)
    rates = {product.precision: _median_rate(turns[product.name]) for product in products}
    card = next((turns[c.name] for c in them if c.kind == "A"), None) or next(iter(turns.values()))
    mean_tokens = _mean_tokens(card)
    flops_of_token = (2 if row.kind == "evaluate" else 6) * product_parameters(setting.config(row))
    lines = [
        line(
            row.name,
            contender.name,
            1 if row.kind == "evaluate" else setting.batch(row),
            turns[contender.name],
            mean_tokens=mean_tokens,
            floor=rates[contender.precision] / flops_of_token,
            without=switched.get(contender.name, []),
        )
        for contender in them
    ]
    return with_ratios(lines)


def _start(jobs: list[Job], held: ExitStack) -> dict[str, Child]:
    """Start the contenders and wait until all could begin. On a CPU, where they would be in each other's way, one by one."""
    children = {}
    for job in jobs:
        children[job.contender.name] = child = Child(job)
        held.callback(child.close)
        if not job.cuda:
            child.ready()
    for job in jobs:
        if job.cuda:
            children[job.contender.name].ready()
    return children


def _rounds(children: dict[str, Child], orders: dict[str, Order], timing: Timing) -> dict[str, list[Turn]]:
    """Let each warm up, then all of them take turns."""
    for name, child in children.items() if timing.warm_up else ():
        child.turn(replace(orders[name], steps=timing.warm_up, lead=0))
    turns: dict[str, list[Turn]] = {name: [] for name in children}
    for _ in range(timing.rounds):
        for name, child in children.items():
            turns[name].append(child.turn(orders[name]))
    return turns


def _order(contender: Contender, row: Row, timing: Timing) -> Order:
    if contender.kind == PRODUCTS:
        return Order(steps=10)
    if row.kind == "evaluate":
        return Order(steps=1)
    return Order(steps=timing.card_steps if contender.kind == "A" else timing.steps, lead=timing.lead)


def _switched(child: Child, contender: Contender, row: Row, timing: Timing) -> list[tuple[Turn, Turn]]:
    """Return turns of one of transformers with and without dropout."""
    order = _order(contender, row, timing)
    return [(child.turn(order), child.turn(replace(order, dropout=False))) for _ in range(max(1, timing.rounds - 1))]


def _beside_itself_without_dropout(row: Row, setting: Setting, contender: Contender) -> list[tuple[Turn, Turn]]:
    """Return turns of debft beside those of a debft whose model has no dropout."""
    without = replace(contender, name=f"{contender.name}, no dropout", dropout=False)
    order = _order(contender, row, setting.timing)
    with ExitStack() as held:
        both = (replace(contender, name=f"{contender.name}, again"), without)
        children = _start([setting.job(row, one) for one in both], held)
        turns = _rounds(children, dict.fromkeys(children, order), setting.timing)
    return list(zip(*turns.values(), strict=True))


def _median_rate(turns: list[Turn]) -> float:
    return statistics.median(turn.flops / turn.seconds for turn in turns)


def has_bf16(cuda: bool) -> bool:
    """Whether the hardware multiplies in bf16, which torch does elsewhere as well, slowly."""
    if cuda:
        import torch

        return torch.cuda.get_device_capability() >= (8, 0)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def measure_growth(setting: Setting) -> list[Line]:
    """Measure debft on more and more rows: premises and hypotheses of MNLI, newly paired, so that all have alike lengths."""
    row, sizes = ROWS["mnli-xsmall"], SMALL_GROWTH if setting.small else GROWTH
    debft = next(one for one in setting.contenders(row) if one.kind == "debft")
    by_name = {f"debft {debft.precision}, {rows:,} rows": setting.out / f"growth-{rows}" for rows in sizes}
    for rows, directory in zip(sizes, by_name.values(), strict=True):
        _write_pairs(directory / "mnli", rows, str(setting.data) if setting.data else "demo")
    with ExitStack() as held:
        jobs = [setting.job(row, replace(debft, name=name), directory) for name, directory in by_name.items()]
        children = _start(jobs, held)
        turns = _rounds(children, dict.fromkeys(children, _order(debft, row, setting.timing)), setting.timing)
    mean_tokens = _mean_tokens([turn for of_one in turns.values() for turn in of_one])
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


def _mean_tokens(turns: list[Turn]) -> float:
    return sum(turn.tokens for turn in turns) / sum(turn.examples for turn in turns)
