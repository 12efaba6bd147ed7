"""The examination behind `debft doctor`: the environment, the traps of the installed packages, the files of a model.

Everything is tried rather than assumed. The command itself, which prints the findings, is in look.py.
"""

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from debft import __version__
from debft.errors import InputError, first_line
from debft.models.attention.availability import FAULTS
from debft.models.attention.backends import BACKENDS, attention_for, why_not
from debft.models.files import TOKENIZER_FILES, find_model, lacking
from debft.models.json_files import load_config, read_config
from debft.models.positions import longest_input
from debft.models.weights import check_weights, explain_no_weights, stored_dtypes, weight_files
from debft.runs.cache import cache_directory
from debft.runtime import hub
from debft.runtime.devices import device_type, unused_gpus, visible_gpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PACKAGES = ("torch", "transformers", "datasets", "evaluate", "accelerate", "tokenizers", "sentencepiece")
SUPPORTED = {"torch": ((2, 10), (3,)), "transformers": ((5, 17), (6,))}
# The files, beside the weights, that decide what a model computes.
PINNED = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", *TOKENIZER_FILES)
# Texts on which a tokenizer without the character map or byte fallback goes wrong.
PROBES = ("ＤｅＢＥＲＴａ", "ﬁne", "e\u0301", "他说，妈妈，我回来了。", "ก็ นี้", "👍🏽", "a[SEP]b", "½ ™")


@dataclass(frozen=True)
class Finding:
    """A finding says what one look at the environment or a model has shown."""

    what: str
    """What was looked at: a package, the device, the tokens of a model."""
    state: Literal["ok", "note", "bad"]
    """`bad` keeps something from working; `note` is what a user should know."""
    found: str
    """What was found, and what to do where it is bad."""


def examine(model: str | None) -> list[Finding]:
    """Look at the environment and, where a model is given, at its files."""
    findings = [
        Finding("debft", "ok", __version__),
        *(_package(name) for name in PACKAGES),
        _device(),
        *_attention(),
        _hub(),
        _cache(),
    ]
    if model is not None:
        findings += _model(model)
    return findings


def pin_of(model: str) -> str:
    """Return the entry of models/pins.yaml for the files that a name stands for now: commit and sha256 of each file, as YAML."""
    import yaml

    from debft.models.pins import sha256_of, weight_digests

    files = find_model(model, from_scratch=False)
    names = {path.name for path in files.path.iterdir() if path.name in PINNED} | set(weight_digests(files.path))
    commit = {"commit": files.revision} if files.revision is not None and not files.packaged else {}
    pin = commit | {"files": {name: sha256_of(files.path / name) for name in sorted(names)}}
    return yaml.safe_dump({files.name: pin}, sort_keys=False, allow_unicode=True)


def _package(name: str) -> Finding:
    installed = version(name)
    if name in SUPPORTED:
        least, below = SUPPORTED[name]
        numbers = tuple(int(part) for part in installed.split("+")[0].split(".")[:2])
        if not least <= numbers < below:
            need = f">= {'.'.join(map(str, least))}, < {'.'.join(map(str, below))}"
            return Finding(name, "bad", f"{installed}; debft needs {need}: pip install '{name}{need.replace(' ', '')}'")
    return Finding(name, "ok", installed)


def _device() -> Finding:
    import torch

    if gpus := visible_gpus():
        major, _ = torch.cuda.get_device_capability()
        precision = "bf16" if major >= 8 else "fp32 (no bf16; --precision fp16 works)"
        return Finding("device", "ok", f"{gpus} x {torch.cuda.get_device_name()}, --precision auto is {precision}")
    why = f"warning: {unused}" if (unused := unused_gpus()) else "no GPU found"
    return Finding("device", "note", f"cpu, {torch.get_num_threads()} threads, --precision auto is fp32; {why}")


def _attention() -> list[Finding]:
    """Say what `--attention auto` takes for a model that every backend knows, why not the others, and what the kernels cost."""
    chosen, _ = attention_for("auto", None, device_type())
    reasons = {backend: why_not(backend, None, device_type()) for backend in BACKENDS}
    lacking = [f"no {backend} ({reason})" for backend, reason in reasons.items() if reason is not None]
    faults = FAULTS if reasons["triton"] is None else {}
    return [
        Finding("attention", "ok", "; ".join([f"--attention auto is {chosen}", *lacking])),
        *(Finding(f"triton {name}", "note", what) for name, what in faults.items()),
    ]


def _hub() -> Finding:
    if hub.offline():
        return Finding("hub", "note", "HF_HUB_OFFLINE is set: only what is in the cache, --data DIR and --data demo")
    try:
        answers = hub.reachable()
    except InputError as error:
        return Finding("hub", "bad", str(error))
    if answers:
        return Finding("hub", "ok", hub.endpoint())
    return Finding("hub", "note", f"{hub.endpoint()} does not answer: only what is in the cache, --data DIR and --data demo")


def _cache() -> Finding:
    directory = cache_directory()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    if not os.access(existing, os.W_OK):
        return Finding("cache", "bad", f"{directory} cannot be written; set DEBFT_CACHE")
    return Finding("cache", "ok" if free > 5 else "note", f"{directory}, {free:.0f} GiB free")


def _model(model: str) -> list[Finding]:
    """Look at the files, the configuration, the tokens and the weights; the first thing that is broken ends the list."""
    from debft.models.tokens.tokenizer import build_tokenizer

    try:
        files = find_model(model, from_scratch=True)
        kind = load_config(files.path).model_type
        tokenizer = build_tokenizer(files)
    except InputError as error:
        return [Finding("model", "bad", str(error))]
    findings = [Finding("model", "ok", f"{files.path}, {kind}")]
    rows, used = read_config(files.path).get("vocab_size"), len(tokenizer)
    if rows is not None and used > rows:
        findings.append(Finding("vocabulary", "bad", f"{used} tokens, but config.json has vocab_size {rows}"))
    if (files.path / "spm.model").is_file():
        findings.append(_tokens(files.path, tokenizer))
    if longest := longest_input(read_config(files.path)):
        findings.append(Finding("positions", "ok", f"texts of up to {longest} tokens"))
    return [*findings, _weights(files.path)]


def _tokens(path: Path, tokenizer: "PreTrainedTokenizerFast") -> Finding:
    """Compare our tokens, and those of plain transformers, with SentencePiece itself."""
    import sentencepiece
    from transformers import AutoTokenizer

    oracle = sentencepiece.SentencePieceProcessor(model_file=str(path / "spm.model"))
    wrong = [
        text for text in PROBES if tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids != oracle.encode(text)
    ]
    if wrong:
        return Finding(
            "tokens", "bad", f"{len(wrong)} of {len(PROBES)} probes differ from spm.model, {wrong[0]!r} first; please report it"
        )
    try:
        plain = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        damaged = sum(plain.encode(text, add_special_tokens=False) != oracle.encode(text) for text in PROBES)
        beside = f"plain transformers {version('transformers')} differs on {damaged}"
    except (ValueError, OSError) as error:
        beside = f"plain transformers cannot load it ({first_line(error)[:80]})"
    return Finding("tokens", "ok", f"{len(PROBES)} probes as spm.model gives them; {beside}")


def _weights(path: Path) -> Finding:
    """Read the headers of the weights: are they whole, what dtypes do they have, does anything keep them from being used?"""
    absent = lacking(path, weights=True)
    if absent and not weight_files(path):
        return Finding("weights", "note", f"none: a run needs --from-scratch{explain_no_weights(path)}")
    if absent:
        return Finding("weights", "bad", f"{path}: expected {absent}, found none")
    try:
        check_weights(path, read_config(path))
        return Finding("weights", "ok", f"{', '.join(stored_dtypes(path))} in {_files(path)}; trained in float32")
    except InputError as error:
        return Finding("weights", "bad", str(error))


def _files(path: Path) -> str:
    files = weight_files(path)
    return files[0].name if len(files) == 1 else f"{len(files)} files"
