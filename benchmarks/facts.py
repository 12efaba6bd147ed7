"""Measure what `debft reproduce --dry-run` knows without the hub: tokens per row, windows per question, parameters of the models.

    python benchmarks/facts.py --data ../shared/data > debft/reproduce/facts.yaml

--data holds the tasks' files as `debft --data` reads them, and tokenizer/deberta-v3/spm.model. The parameters are counted over the
published configurations, with no weights at all. What no data is at hand for is written down as assumed, with its reason.
"""

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import yaml
from shapes import CONFIGS
from transformers import AutoConfig

from debft.config.recipe import QuestionConfig, Recipe, TextConfig
from debft.console import say
from debft.data.load import encode_split, load_table
from debft.data.rows import check_rows
from debft.models.files import ModelFiles
from debft.models.size import count_parameters
from debft.models.tokens.tokenizer import build_tokenizer
from debft.tasks import LANGUAGES, TASKS, QuestionAnswering

# max_seq_length of the recipes of deberta-v3-large, by task.
LENGTHS = {"mnli": 256, "cola": 64, "sst2": 128, "mrpc": 128, "stsb": 128, "rte": 320, "xnli": 256, "squad2": 384}
ASSUMED = {
    "qqp": (30, "no rows at hand; two questions of about 13 tokens each"),
    "wnli": (38, "no rows at hand; taken as long as the pairs of MNLI"),
    "squad": (None, "taken as long as SQuAD 2.0, whose contexts are the same articles"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    content = {
        "source": f"measured by benchmarks/facts.py with transformers {version('transformers')}: rows of the benchmarks, some a "
        "part of a split, with the tokenizer of DeBERTa-v3; other models count other tokens",
        "models": {name: _parameters(config) for name, config in CONFIGS.items()},
        "tokens": _tokens(data),
    }
    print("# Written by: python benchmarks/facts.py --data DIR > debft/reproduce/facts.yaml")
    yaml.SafeDumper.ignore_aliases = lambda *_: True
    print(yaml.safe_dump(content, sort_keys=False, width=130, default_flow_style=None), end="")


def _parameters(config: dict) -> dict[str, int]:
    """all: of the encoder with its embeddings; backbone: without the tables that are looked up."""
    with tempfile.TemporaryDirectory() as directory:
        AutoConfig.for_model(**config).save_pretrained(directory)
        every, backbone = count_parameters(ModelFiles(name="", path=Path(directory)))
    return {"all": every, "backbone": backbone}


def _tokens(data: Path) -> dict[str, dict]:
    """By task and split: mean tokens of a row, special ones included, and for questions how many windows each one has."""
    with tempfile.TemporaryDirectory() as directory:
        AutoConfig.for_model(**CONFIGS["deberta-v3-xsmall"]).save_pretrained(directory)
        (Path(directory) / "spm.model").write_bytes((data / "tokenizer" / "deberta-v3" / "spm.model").read_bytes())
        tokenizer = build_tokenizer(ModelFiles(name="deberta-v3", path=Path(directory)))
        found = {name: _of_task(name, data, tokenizer) for name in LENGTHS}
        found["qnli"] = _of_qnli(data, tokenizer)
    for name, (tokens, why) in ASSUMED.items():
        rows = {"train": tokens, "other": tokens}
        found[name] = found["squad2"] | {"assumed": why} if tokens is None else {"rows": rows, "assumed": why}
    return found


def _of_task(name: str, data: Path, tokenizer) -> dict:
    task = TASKS[name]
    recipe = Recipe(text=TextConfig(max_seq_length=LENGTHS[name]), questions=QuestionConfig(doc_stride=128))
    splits = [split for split in task.splits if not split.name.startswith("test")]
    folder = data / "glue_data" if name in ("cola", "rte", "mrpc", "sst2") else data / "squad2" if name == "squad2" else data
    rows, windows = {}, {}
    for split in splits:
        say(f"{name} {split.name}")
        examples = check_rows(load_table(task, split, str(folder)), task, None, train=split is task.train, skip=True)
        lengths = encode_split(task, examples, tokenizer, recipe, what=split.name, cached=False).lengths()
        rows[split.name] = round(float(lengths.mean()), 1)
        windows[split.name] = round(len(lengths) / len(examples), 3)
    if name == "xnli":
        other = round(fmean(rows[f"validation.{language}"] for language in LANGUAGES), 1)
        note = "the languages other than English are counted with an English vocabulary, which is too many"
        return {
            "rows": rows | {f"test.{language}": rows[f"validation.{language}"] for language in LANGUAGES} | {"other": other},
            "note": note,
        }
    if isinstance(task, QuestionAnswering):
        return {"rows": rows, "windows": windows, "max_seq_length": LENGTHS[name], "doc_stride": recipe.questions.doc_stride}
    return {"rows": rows}


def _of_qnli(data: Path, tokenizer) -> dict:
    """QNLI pairs a question of SQuAD with one sentence of its context."""
    table = load_table(TASKS["squad2"], TASKS["squad2"].train, str(data / "squad2"))
    contexts = list(dict.fromkeys(table.columns["context"]))
    questions = fmean(len(tokenizer.tokenize(text)) for text in table.columns["question"][:2000])
    sentences = sum(max(1, text.count(". ") + 1) for text in contexts)
    tokens = round(questions + sum(len(tokenizer.tokenize(text)) for text in contexts) / sentences + 3, 1)
    return {
        "rows": {"train": tokens, "other": tokens},
        "assumed": "no rows at hand; a question and a sentence of SQuAD 2.0, which they are made of",
    }


if __name__ == "__main__":
    main()
