"""What `speed.py` measures: the rows of its table, who contends in each, and the directories of models without weights."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shapes import CONFIGS

CARD, BEST, FLASH, FLASHDEBERTA = (
    "A",
    "B",
    "disentangled-flash in transformers",
    "flashdeberta in transformers, attention dropout 0",
)
PRODUCTS = "products"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout")
STEPS = 10**6  # of the schedule: no contender comes to its end
SIFT_WEIGHT = 3.0  # of the published recipe of deberta-v3-xsmall


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row is a recipe in the shape of a model.

    recipe: the packaged one; shape: a key of shapes.CONFIGS
    kind: what a step is; `sift` compares debft with itself
    folder: of the task's files below --data
    cpu_batch: sequences of a step on a CPU, where the recipe's own would take minutes; on a GPU it is the recipe's
    in_full: the dropout of transformers is measured as well; on a GPU also debft in fp32 and with deterministic kernels
    card_micro: sequences of one forward pass of A, 8 as the cards have it where nothing is said
    best_micro: the same of B on a CPU; on a GPU a step is one forward pass of B
    """

    name: str
    recipe: str
    shape: str
    kind: Literal["train", "sift", "evaluate"] = "train"
    folder: str = ""
    cpu_batch: int = 64
    in_full: bool = False
    card_micro: int = 8
    best_micro: int = 16


ROWS = {
    row.name: row
    for row in (
        Row(name="mnli-xsmall", recipe="mnli/deberta-v3-xsmall", shape="deberta-v3-xsmall", in_full=True),
        Row(name="mnli-base", recipe="mnli/deberta-v3-base", shape="deberta-v3-base", cpu_batch=16),
        Row(
            name="squad2-xsmall",
            recipe="squad2/deberta-v3-xsmall",
            shape="deberta-v3-xsmall",
            folder="squad2",
            cpu_batch=16,
            best_micro=8,
        ),
        Row(
            name="squad2-base",
            recipe="squad2/deberta-v3-base",
            shape="deberta-v3-base",
            folder="squad2",
            cpu_batch=8,
            card_micro=4,
            best_micro=8,
        ),
        Row(name="xnli-mdeberta", recipe="xnli/mdeberta-v3-base", shape="mdeberta-v3-base", cpu_batch=32, card_micro=4),
        Row(name="sift-xsmall", recipe="mnli/deberta-v3-xsmall", shape="deberta-v3-xsmall", kind="sift", cpu_batch=32),
        Row(name="evaluate-xsmall", recipe="mnli/deberta-v3-xsmall", shape="deberta-v3-xsmall", kind="evaluate"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """name: in the table; kind: who it is; precision: fp32 or bf16; overrides: of debft's recipe; dropout: whether it has any."""

    name: str
    kind: str
    precision: str
    overrides: dict[str, Any] = field(default_factory=dict)
    dropout: bool = True


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a contender's process is told.

    data: a directory or `demo`; shape: the directory of the model; out, log: where it writes
    batch: sequences of a step; card_parts: forward passes of a step of A that are done, all being alike; 0: all of them
    eval_rows: of each dev split; card_rows: of those that A evaluates; overrides: of the recipe, for all contenders
    """

    contender: Contender
    row: Row
    data: str
    shape: Path
    out: Path
    log: Path
    batch: int
    card_parts: int
    eval_rows: int
    card_rows: int
    overrides: dict[str, Any]
    threads: int
    cuda: bool

    def recipe(self) -> Any:
        """Return the recipe that debft runs, and that the others take their numbers from."""
        from debft.config.packaged import recipe_path
        from debft.config.reading import load_recipe

        overrides = {
            "model": str(self.shape),
            "data": self.data,
            "train.from_scratch": True,
            "train.max_steps": STEPS,
            "train.train_batch_size": self.batch,
            "train.max_eval_samples": self.eval_rows,
            "train.eval_steps": None,
            "runtime.save_steps": None,
            "runtime.precision": self.contender.precision,
        }
        if self.row.recipe.startswith("xnli/"):
            overrides["languages.eval_languages"] = "en"
        if self.row.kind == "evaluate":  # a step of one row, whose time is left out, and then the evaluation
            overrides |= {"train.train_batch_size": 1, "train.eval_steps": 1}
        return load_recipe(recipe_path(self.row.recipe), overrides | self.overrides | self.contender.overrides)


def contenders(
    row: Row, precisions: tuple[str, ...], best_precision: str, flash: tuple[str, ...], deterministic: bool
) -> list[Contender]:
    """Return who contends in a row.

    precisions: those of debft; flash: of FLASH and FLASHDEBERTA those that can be imported
    deterministic: debft with deterministic kernels as well
    """
    if row.kind == "sift":
        return [
            Contender(name=f"debft {precision}{name}", kind="debft", precision=precision, overrides={"sift.weight": weight})
            for precision in precisions
            for name, weight in ((", plain", 0.0), (", SiFT", SIFT_WEIGHT))
        ]
    if row.kind == "evaluate":
        precisions, best_precision, flash = ("fp32",), "fp32", ()
    transformers = [
        Contender(name="A: transformers as the card runs it, fp32", kind=CARD, precision="fp32"),
        Contender(name=f"B: transformers at its best, {best_precision}", kind=BEST, precision=best_precision),
        *(Contender(name=f"{name}, {best_precision}", kind=name, precision=best_precision) for name in flash),
    ]
    ours = [Contender(name=f"debft {precision}", kind="debft", precision=precision) for precision in precisions]
    if deterministic:
        always = {"runtime.deterministic": True}
        ours.append(Contender(name=f"{ours[-1].name}, deterministic", kind="debft", precision=precisions[-1], overrides=always))
    return transformers + ours


def make_shape(directory: Path, config: dict[str, Any], vocabulary: Path, *, dropout: bool) -> Path:
    """Make the directory of a model without weights: config.json and spm.model."""
    directory.mkdir(parents=True, exist_ok=True)
    without = {} if dropout else dict.fromkeys(DROPOUTS, 0.0)
    (directory / "config.json").write_text(json.dumps(config | without))
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    if not (directory / "spm.model").is_file():
        shutil.copy(vocabulary, directory / "spm.model")
    return directory


def config_of(shape: str) -> dict[str, Any]:
    return CONFIGS[shape] | {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def product_parameters(config: dict[str, Any]) -> int:
    """Return the weights of the encoder's matrix products: four in the attention of a layer, two in its feed-forward part."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return config["num_hidden_layers"] * (4 * hidden * hidden + 2 * hidden * inner)
