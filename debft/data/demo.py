"""Built-in MNLI-shaped rows, a tokenizer and a tiny DeBERTa-v2 to learn them with, all made here and seeded.

A premise tells of one animal or of two; a hypothesis claims one thing about one of them. What the premise says
is entailed, its opposite or a denial is a contradiction, what it leaves open is neutral. The mismatched split
is harder: nearly always two animals, so that the model must keep apart who did what, and the order of the words
in a clause is one that the training rows use rarely.
"""

import hashlib
import json
import math
import random
from collections import Counter
from functools import cache
from pathlib import Path

from debft.data.files import Table
from debft.errors import InputError
from debft.tasks import Split, Task

MODEL_NAME = "demo"
ANIMALS = ("fox", "owl", "cat", "dog", "horse", "rabbit", "bear", "goose")
# A value and its opposite.
SLOTS = {
    "colour": ("white", "black"),
    "place": ("garden", "kitchen"),
    "time": ("morning", "evening"),
    "action": ("slept", "worked"),
}
ROWS = {"train": 6000, "validation_matched": 600, "validation_mismatched": 600}
TWO_ANIMALS = {"train": 0.15, "validation_matched": 0.15, "validation_mismatched": 0.9}
TIME_FIRST = {"train": 0.1, "validation_matched": 0.1, "validation_mismatched": 0.5}
DENIED = 0.3  # of the contradictions
VOCABULARY = 400


def table(task: Task, split: Split) -> Table:
    """The demo rows of a split. Raises InputError for a task without demo data."""
    if task.text_keys != ("premise", "hypothesis"):
        raise InputError(f"--data demo: there is no demo data for {task.name}; use --data DIR")
    rows = [_row(random.Random(f"{split.name}/{i}"), split.name, task.labels[i % 3]) for i in range(ROWS[split.name])]
    random.Random(split.name).shuffle(rows)
    premises, hypotheses, labels = zip(*rows, strict=True)
    columns = {"premise": list(premises), "hypothesis": list(hypotheses), "label": list(labels)}
    return Table(columns=columns, path=f"demo/{task.name}/{split.name}", lines=range(1, len(rows) + 1))


def _row(rng: random.Random, split: str, label: str) -> tuple[str, str, str]:
    animals = rng.sample(ANIMALS, 2 if rng.random() < TWO_ANIMALS[split] else 1)
    facts = [{slot: rng.choice(SLOTS[slot]) for slot in ("action", *rng.sample(("colour", "place", "time"), rng.choice((1, 2))))}
             for _ in animals]  # fmt: skip
    clauses = [_clause(animal, known, rng.random() < TIME_FIRST[split]) for animal, known in zip(animals, facts, strict=True)]
    about = rng.randrange(len(animals))
    known = facts[about]
    denied = label == "contradiction" and rng.random() < DENIED
    if label == "neutral":
        slot = rng.choice([slot for slot in SLOTS if slot not in known])
        value = rng.choice(SLOTS[slot])
    else:
        slot = rng.choice(list(known))
        value = known[slot] if label == "entailment" or denied else _opposite(slot, known[slot])
    return " and ".join(clauses) + " .", _claim(animals[about], slot, value, denied) + " .", label


def _clause(animal: str, known: dict[str, str], time_first: bool) -> str:
    colour = f"{known['colour']} " if "colour" in known else ""
    place = f" in the {known['place']}" if "place" in known else ""
    time = f"in the {known['time']}" if "time" in known else ""
    core = f"the {colour}{animal} {known['action']}{place}"
    return f"{time} {core}" if time_first and time else f"{core} {time}".rstrip()


def _claim(animal: str, slot: str, value: str, denied: bool) -> str:
    no = " not" if denied else ""
    return {
        "colour": f"the {animal} was{no} {value}",
        "place": f"the {animal} was{no} in the {value}",
        "time": f"it was{no} {value} for the {animal}",
        "action": f"the {animal}{' never' if denied else ''} {value}",
    }[slot]


def _opposite(slot: str, value: str) -> str:
    one, other = SLOTS[slot]
    return other if value == one else one


def model_directory() -> Path:
    """A directory with the demo model's `config.json` and `spm.model`, made on first use in the cache.

    The tokenizer is a real SentencePiece model with DeBERTa's special pieces, trained on the demo rows, so the demo
    takes the same way through the program as microsoft/deberta-v3 does.
    """
    from debft.cache import cache_directory, write_atomically

    config = json.dumps(_config(), indent=2, sort_keys=True)
    spm = _spm()
    key = hashlib.sha256(config.encode() + spm).hexdigest()[:12]
    directory = cache_directory() / f"demo-model-{key}" / MODEL_NAME
    if not (directory / "config.json").is_file():
        write_atomically(directory / "spm.model", spm)
        write_atomically(directory / "config.json", config.encode())
    return directory


def _config() -> dict:
    return {
        "model_type": "deberta-v2", "vocab_size": VOCABULARY + 16, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 128, "position_buckets": 16,
        "relative_attention": True, "pos_att_type": "p2c|c2p", "share_att_key": True, "norm_rel_ebd": "layer_norm",
        "position_biased_input": False, "type_vocab_size": 0, "layer_norm_eps": 1e-7, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "pooler_dropout": 0.0, "pooler_hidden_act": "gelu",
        "pooler_hidden_size": 64, "pad_token_id": 0, "max_relative_positions": -1, "initializer_range": 0.1,
    }  # fmt: skip


@cache
def _corpus() -> str:
    rng = random.Random("tokenizer")
    labels = ("entailment", "neutral", "contradiction")
    return "\n".join(text for i in range(2000) for text in _row(rng, "train", labels[i % 3])[:2])


@cache
def _spm() -> bytes:
    """A trained model for the character map and single characters; the demo's words are added as pieces.

    The trainer makes pieces only of what occurs in two different words.
    """
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    words = Counter(_corpus().split())
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sorted(words)), model_writer=model, vocab_size=VOCABULARY, model_type="unigram",
        byte_fallback=True, pad_id=0, pad_piece="[PAD]", bos_id=1, bos_piece="[CLS]", eos_id=2, eos_piece="[SEP]", unk_id=3,
        unk_piece="[UNK]", hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    there = {piece.piece for piece in proto.pieces}
    for word, count in sorted(words.items()):
        if f"▁{word}" not in there:
            proto.pieces.add(piece=f"▁{word}", score=math.log(count / words.total()))
    assert len(proto.pieces) < VOCABULARY
    return proto.SerializeToString(deterministic=True)
