"""Measure what the README says of transformers' Trainer: tokens, accumulated gradients, NaN, and `kill -9` while it saves.

    python benchmarks/differences.py --data ../shared/data [--kills 50]

--data holds tokenizer/deberta-v3/spm.model and xnli/validation.<language>.tsv. Nothing is downloaded.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError

import sentencepiece
import torch
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from debft.data.sources.demo import model_directory
from debft.errors import DebftError
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runs.checkpoint import checkpoints, load_checkpoint, save_checkpoint

WIDTH = 512  # of the model whose checkpoints are interrupted: some tens of megabytes, so that saving takes a while


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--child", nargs=2, metavar=("PROGRAM", "DIR"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        save_for_ever(given.child[0], Path(given.child[1]))
        return
    print(f"torch {torch.__version__}, transformers {version('transformers')}, accelerate {version('accelerate')}", flush=True)
    if given.data:
        compare_tokens(given.data)
    with tempfile.TemporaryDirectory() as scratch:
        show_accumulation(Path(scratch))
        show_nan(Path(scratch))
        for program in ("transformers.Trainer", "debft"):
            unloadable = sum(killed(program, number, Path(scratch) / f"{program}-{number}") for number in range(given.kills))
            print(f"kill -9 while saving, {program}: the newest checkpoint of {unloadable} of {given.kills} cannot be loaded")


def compare_tokens(data: Path) -> None:
    """Count the sentences of each language whose ids differ from SentencePiece's own, in transformers and in debft."""
    spm = data / "tokenizer" / "deberta-v3" / "spm.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(model_directory() / "config.json", scratch)
        shutil.copy(spm, scratch)
        plain, ours = AutoTokenizer.from_pretrained(scratch), build_tokenizer(ModelFiles(name="deberta-v3", path=Path(scratch)))
        for file in sorted((data / "xnli").glob("validation.*.tsv")):
            lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
            texts = [text for line in lines for text in line[:2]]
            truth = pieces.encode(texts)
            shares = [
                f"{name} {100 * sum(a != b for a, b in zip(ids_of(one, texts), truth, strict=True)) / len(texts):.1f}%"
                for name, one in (("transformers", plain), ("debft", ours))
            ]
            language = file.name.split(".")[1]
            print(f"sentences with other tokens than SentencePiece, {language}: {', '.join(shares)} of {len(texts):,}", flush=True)


def ids_of(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def small_model(width: int = 64):
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(model_directory(), num_labels=3, hidden_size=width, num_attention_heads=width // 32)
    config.intermediate_size, config.pooler_hidden_size = 4 * width, width
    return AutoModelForSequenceClassification.from_config(config)


def rows(number: int) -> Dataset:
    draw = random.Random(0)
    ids = [[1, *draw.choices(range(5, 900), k=12), 2] for _ in range(number)]
    return Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * 14] * number, "labels": draw.choices(range(3), k=number)})


def train(model, scratch: Path, count: int, **options) -> list[dict]:
    """Return what Trainer logs."""
    settings = TrainingArguments(
        output_dir=str(scratch), logging_steps=1, report_to=[], disable_tqdm=True, use_cpu=True, learning_rate=1e-5, **options
    )
    trainer = Trainer(model=model, args=settings, train_dataset=rows(count))
    trainer.train()
    return [log for log in trainer.state.log_history if "loss" in log]


def show_accumulation(scratch: Path) -> None:
    for steps in (1, 4):
        sizes = {"per_device_train_batch_size": 32 // steps, "gradient_accumulation_steps": steps}
        (log, *_) = train(small_model(), scratch, 32, max_steps=1, save_strategy="no", **sizes)
        loss, norm = float(log["loss"]), float(log["grad_norm"])
        print(f"Trainer, 32 rows in {steps} micro-batches: loss {loss:.3f}, gradient norm {norm:.3f}", flush=True)


def show_nan(scratch: Path) -> None:
    model = small_model()
    with torch.no_grad():
        next(model.parameters())[:] = float("nan")
    logs = train(model, scratch, 32, max_steps=3, save_strategy="no", per_device_train_batch_size=8)
    print(f"Trainer, weights that are NaN: loss {[log['loss'] for log in logs]}, and it trains on", flush=True)


class Saved(TrainerCallback):
    """Says in a file that a checkpoint is there."""

    def on_save(self, args, state, control, **kwargs):
        (Path(args.output_dir).parent / f"{Path(args.output_dir).name}.saved").touch()


def save_for_ever(program: str, directory: Path) -> None:
    """Train a step, save, and so on, until somebody kills the process."""
    model = small_model(WIDTH)
    if program == "debft":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        batch = {name: torch.tensor(values) for name, values in rows(4).to_dict().items()}
        for step in range(1, 10**6):
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            save_checkpoint(directory, f"step-{step:06}", step, model, optimizer, {})
            for old in sorted(directory.glob("step-*"))[:-2]:
                shutil.rmtree(old)
            directory.with_name(f"{directory.name}.saved").touch()
    settings = TrainingArguments(
        output_dir=str(directory),
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        max_steps=10**6,
        save_steps=1,
        save_total_limit=2,
        per_device_train_batch_size=4,
    )
    Trainer(model=model, args=settings, train_dataset=rows(64), callbacks=[Saved()]).train()


def killed(program: str, number: int, directory: Path) -> bool:
    """Kill a process that saves, at a random moment; return whether its newest checkpoint cannot be loaded."""
    directory.mkdir()
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", program, str(directory)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not directory.with_name(f"{directory.name}.saved").exists():
        time.sleep(0.02)
        if child.poll() is not None:
            raise SystemExit(f"{program} ended by itself with {child.returncode}")
    time.sleep(random.Random(number).uniform(0, 2))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    broken = not (ours_loads(directory) if program == "debft" else theirs_loads(directory))
    shutil.rmtree(directory)
    return broken


def ours_loads(directory: Path) -> bool:
    try:
        load_checkpoint(checkpoints(directory)[-1])
    except DebftError:
        return False
    return True


def theirs_loads(directory: Path) -> bool:
    """Whether the directory that `get_last_checkpoint` names has all that `resume_from_checkpoint` reads, whole."""
    newest = max(directory.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    try:
        load_file(newest / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.load(newest / name, weights_only=True)
        torch.load(newest / "rng_state.pth", weights_only=False)
        json.loads((newest / "trainer_state.json").read_text())
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError):
        return False
    return True


if __name__ == "__main__":
    main()
