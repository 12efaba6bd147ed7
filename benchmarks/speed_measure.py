"""How `speed.py` measures: contenders of a row take turns, and what the turns took becomes the lines of its table."""

import importlib.util
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from speed_rows import FLASH, FLASHDEBERTA, PRODUCTS, Contender, Job, Row, config_of, contenders, make_shape, product_parameters
from speed_table import Line, line, with_ratios
from speed_turns import Child, ContenderFailed, Order, Turn

# Plain steps by floating-point operations: three forward passes, one backward pass to the input alone and one over two graphs.
SIFT_WORK = 8 / 3
RECORDED = 5  # times as many steps of debft warm up: it records a graph for each size of a step


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How often a thing is done.

    steps, card_steps: of a turn, of all and of A
    warm_up: steps before the first turn, beside the very first; lead: steps at the begin of each turn that are not measured
    rounds: turns of each contender; switched: turns of transformers with and without dropout
    card_parts, eval_rows, card_rows: as in Job
    """

    steps: int
    card_steps: int
    rounds: int
    warm_up: int
    lead: int
    switched: int
    card_parts: int
    eval_rows: int
    card_rows: int


ON_CPU = Timing(steps=1, card_steps=1, rounds=3, warm_up=0, lead=0, switched=1, card_parts=1, eval_rows=128, card_rows=32)
ON_GPU = Timing(steps=15, card_steps=2, rounds=3, warm_up=15, lead=1, switched=1, card_parts=0, eval_rows=2000, card_rows=800)
SMALL = Timing(steps=1, card_steps=1, rounds=1, warm_up=0, lead=0, switched=1, card_parts=1, eval_rows=16, card_rows=8)


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
    failed: list[str] = field(default_factory=list)

    def note(self, error: ContenderFailed | str) -> None:
        """Say at once who has failed, and keep it for the exit code."""
        print(error, file=sys.stderr, flush=True)
        self.failed.append(str(error))

    @property
    def small(self) -> bool:
        return self.data is None

    def contenders(self, row: Row) -> list[Contender]:
        half = has_bf16(self.cuda) and not self.small
        in_full = self.cuda and row.in_full
        usual = ("fp32", "bf16") if half and (in_full or not self.cuda) else ("bf16",) if half else ("fp32",)
        flash = [name for name, module in ((FLASH, "disentangled_flash"), (FLASHDEBERTA, "flashdeberta")) if installed(module)]
        return contenders(row, self.precisions or usual, "bf16" if half else "fp32", tuple(flash) if in_full else (), in_full)

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
        name = "".join(letter if letter.isalnum() else "-" for letter in f"{row.name}-{contender.name}")
        out = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.out))
        data = data or (self.data / row.folder if self.data else None)
        return Job(
            contender=contender,
            row=row,
            data=str(data) if data else "demo",
            shape=self.shape(row, contender.dropout),
            out=out,
            log=out.with_suffix(".log"),
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


def side_by_side(row: Row, setting: Setting) -> tuple[list[Contender], dict[str, Contender]]:
    """Return (contenders that are measured beside each other, those of debft by name whose like has no dropout).

    On a CPU those without dropout start once the others have left the memory.
    """
    them = setting.contenders(row)
    products = [
        Contender(name=f"products {precision}", kind=PRODUCTS, precision=precision)
        for precision in dict.fromkeys(contender.precision for contender in them)
    ]
    paired = {
        one.name: replace(one, name=f"{one.name}, no dropout", dropout=False)
        for one in them
        if one.kind == "debft" and row.kind == "train" and not one.overrides and (row.in_full or not setting.cuda)
    }
    return [*them, *products, *(paired.values() if setting.cuda else ())], paired


def begun(row: Row, setting: Setting, held: ExitStack) -> dict[str, Child]:
    """Start the contenders of a row on a GPU and warm them up, all at the same time: it is most of the time, and not measured."""
    contenders = side_by_side(row, setting)[0]
    children = {one.name: Child(setting.job(row, one)) for one in contenders}
    for child in children.values():
        held.callback(child.close)
    for wait in (lambda child, order: child.ready(), lambda child, order: child.begin(order), lambda child, order: child.end()):
        for one in [one for one in contenders if one.name in children]:
            order = order_of(one, row, setting.timing)
            steps = setting.timing.warm_up * (RECORDED if one.kind == "debft" else 1) if order.lead else 1
            try:
                wait(children[one.name], replace(order, steps=steps, lead=0))
            except ContenderFailed as error:
                setting.note(error)
                children.pop(one.name).close()
    return children


def measure(row: Row, setting: Setting) -> list[Line]:
    """Measure the contenders of a row and return their lines; those that fail are left out and noted in `setting.failed`."""
    timing, them = setting.timing, setting.contenders(row)
    together, paired = side_by_side(row, setting)
    with ExitStack() as held:
        children = begun(row, setting, held) if setting.cuda else start(row, together, setting, held)
        turns = take_turns(children, {one.name: order_of(one, row, timing) for one in together}, setting)
        children = {name: child for name, child in children.items() if name in turns}
        attention = {name: child.attention() for name, child in children.items()}
        pairs = {}
        if row.in_full:
            switching = [one for one in them if one.kind != "debft" and one.name in children]
            pairs = {one.name: _switched(children[one.name], one, row, setting) for one in switching}
        if not setting.cuda:
            for name in [name for name in children if name not in paired]:
                children.pop(name).close()
        for name, without in paired.items():
            both = turns if setting.cuda else _beside_itself(row, setting, children, name, without)
            pairs[name] = list(zip(both.get(name, []), both.get(without.name, []), strict=False))
    lines = _lines(row, setting, them, turns, pairs)
    return with_ratios([replace(one, attention=attention[one.contender]) for one in lines])


def _lines(
    row: Row, setting: Setting, them: list[Contender], turns: dict[str, list[Turn]], pairs: dict[str, list[tuple[Turn, Turn]]]
) -> list[Line]:
    measured = [one for one in them if one.name in turns]
    if not measured:
        return []
    mean_tokens = mean_tokens_of(turns[measured[0].name])

    def floor(one: Contender) -> float | None:
        """Return the real tokens a second of the products alone."""
        per_parameter = 2 if row.kind == "evaluate" else 6 * SIFT_WORK if one.overrides.get("sift.weight") else 6
        rates = [turn.flops / turn.seconds for turn in turns.get(f"products {one.precision}", [])]
        return statistics.median(rates) / (per_parameter * product_parameters(setting.config(row))) if rates else None

    return [
        line(
            row.name,
            one.name,
            None if row.kind == "evaluate" else setting.batch(row),
            turns[one.name],
            mean_tokens=mean_tokens,
            floor=floor(one),
            without=pairs.get(one.name, []),
        )
        for one in measured
    ]


def start(
    row: Row, them: list[Contender], setting: Setting, held: ExitStack, data: dict[str, Path] | None = None
) -> dict[str, Child]:
    """Start the contenders and wait until all could begin. On a CPU, where they would be in each other's way, one by one.

    data: directories of the rows, by the contender's name
    """
    started, ready = [], {}
    for one in them:
        child = Child(setting.job(row, one, (data or {}).get(one.name)))
        held.callback(child.close)
        started.append(child)
        for waiting in started if not setting.cuda or one is them[-1] else ():
            try:
                waiting.ready()
                ready[waiting.name] = waiting
            except ContenderFailed as error:
                setting.note(error)
        started = started if setting.cuda else []
    return ready


def take_turns(children: dict[str, Child], orders: dict[str, Order], setting: Setting) -> dict[str, list[Turn]]:
    """Let all of them take turns. Who fails has none."""
    turns: dict[str, list[Turn]] = {name: [] for name in children}
    for number in range(setting.timing.rounds):
        print(f"    turn {number + 1}, {', '.join(name.partition(':')[0] for name in turns)}", file=sys.stderr, flush=True)
        for name in list(turns):
            try:
                turns[name].append(children[name].turn(orders[name]))
            except ContenderFailed as error:
                setting.note(error)
                del turns[name]
    return turns


def order_of(contender: Contender, row: Row, timing: Timing) -> Order:
    if contender.kind == PRODUCTS:
        return Order(steps=10)
    if row.kind == "evaluate":
        return Order(steps=1)
    return Order(steps=timing.card_steps if contender.kind == "A" else timing.steps, lead=timing.lead)


def _switched(child: Child, contender: Contender, row: Row, setting: Setting) -> list[tuple[Turn, Turn]]:
    """Return turns of one of transformers, which switches its dropout off, with and without it."""
    order = order_of(contender, row, setting.timing)
    try:
        return [(child.turn(order), child.turn(replace(order, dropout=False))) for _ in range(setting.timing.switched)]
    except ContenderFailed as error:
        setting.note(error)
        return []


def _beside_itself(row: Row, setting: Setting, children: dict[str, Child], name: str, without: Contender) -> dict[str, list[Turn]]:
    """Return new turns of debft, under its name, and those of `without`, its like whose model has no dropout."""
    with ExitStack() as held:
        both = {one: children[one] for one in (name,) if one in children} | start(row, [without], setting, held)
        return take_turns(both, dict.fromkeys(both, order_of(without, row, setting.timing)), setting)


def has_bf16(cuda: bool) -> bool:
    """Whether the hardware multiplies in bf16, which torch does elsewhere as well, slowly."""
    if cuda:
        import torch

        return torch.cuda.get_device_capability() >= (8, 0)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def mean_tokens_of(turns: list[Turn]) -> float:
    return sum(turn.tokens for turn in turns) / sum(turn.examples for turn in turns)
