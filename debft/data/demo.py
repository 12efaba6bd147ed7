"""Built-in rows for every task, a tokenizer and a tiny DeBERTa-v2 to learn them with, all made here and seeded.

A premise tells of one animal or of two; a hypothesis claims one thing about one of them. What the premise says
is entailed, its opposite or a denial is a contradiction, what it leaves open is neutral. MNLI's mismatched split is
harder: nearly always two animals, so that the model must keep apart who did what, and the order of the words in a
clause is one that the training rows use rarely. The rows of other tasks derive from their columns and labels: two labels
for a pair are entailed or not, a score for a pair is the share of facts that agree, two labels for one sentence are
whether the animal slept.
"""

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

from debft.data.files import Table
from debft.tasks import Split, Task

MODEL_NAME = "demo"
ANIMALS = ("fox", "owl", "cat", "dog", "horse", "rabbit", "bear", "goose")
NLI = ("entailment", "neutral", "contradiction")
# A value and its opposite.
SLOTS = {
    "colour": ("white", "black"),
    "place": ("garden", "kitchen"),
    "time": ("morning", "evening"),
    "action": ("slept", "worked"),
}
TRAIN_ROWS, DEV_ROWS = 6000, 600
HARDER = "validation_mismatched"
TWO_ANIMALS, TWO_ANIMALS_HARDER = 0.15, 0.9
TIME_FIRST, TIME_FIRST_HARDER = 0.1, 0.5
DENIED = 0.3  # of the contradictions
VOCABULARY = 400


def table(task: Task, split: Split) -> Table:
    """The demo rows of a split, labels balanced."""
    make = _maker(task)
    count = TRAIN_ROWS if split is task.train else DEV_ROWS
    rows = [make(random.Random(f"{split.name}/{i}"), i, split.name == HARDER) for i in range(count)]
    random.Random(split.name).shuffle(rows)
    columns = dict(zip((*task.text_keys, "label"), map(list, zip(*rows, strict=True)), strict=True))
    return Table(columns=columns, path=f"demo/{task.name}/{split.name}", lines=range(1, len(rows) + 1))


def _maker(task: Task) -> Callable[[random.Random, int, bool], tuple]:
    """(rng, number of the row, harder) -> the texts and the label of a row."""
    if task.is_regression:
        return lambda rng, i, harder: _similar_pair(rng, task.value_range[1])
    if len(task.text_keys) == 1:
        return lambda rng, i, harder: _sentence(rng, task.labels, i % 2)
    if len(task.labels) == 3:
        return lambda rng, i, harder: _pair(rng, harder, NLI[i % 3])
    return lambda rng, i, harder: _entailed_or_not(rng, task, i % 2)


def _entailed_or_not(rng: random.Random, task: Task, label: int) -> tuple[str, str, str]:
    """The label that is no `not_...` is entailed; a question comes before what may answer it."""
    entailed = not task.labels[label].startswith("not_")
    premise, claim, _ = _pair(rng, False, "entailment" if entailed else rng.choice(("neutral", "contradiction")))
    return (claim, premise, task.labels[label]) if task.text_keys[0] == "question" else (premise, claim, task.labels[label])


def _sentence(rng: random.Random, labels: tuple[str, ...], label: int) -> tuple[str, str]:
    """Label 1: the animal slept."""
    known = {slot: rng.choice(SLOTS[slot]) for slot in rng.sample(("colour", "place", "time"), 2)}
    known["action"] = SLOTS["action"][1 - label]
    return _clause(rng.choice(ANIMALS), known, rng.random() < 0.5) + " .", labels[label]


def _similar_pair(rng: random.Random, highest: float) -> tuple[str, str, float]:
    """Two clauses about one animal; the score is the share of their four facts that agree."""
    animal = rng.choice(ANIMALS)
    one = {slot: rng.choice(values) for slot, values in SLOTS.items()}
    differ = rng.sample(list(SLOTS), rng.randint(0, len(SLOTS)))
    other = {slot: _opposite(slot, value) if slot in differ else value for slot, value in one.items()}
    score = highest * (len(SLOTS) - len(differ)) / len(SLOTS)
    return _clause(animal, one, False) + " .", _clause(animal, other, False) + " .", score


def _pair(rng: random.Random, harder: bool, label: str) -> tuple[str, str, str]:
    """A premise, a claim and the NLI label that holds between them."""
    animals = rng.sample(ANIMALS, 2 if rng.random() < (TWO_ANIMALS_HARDER if harder else TWO_ANIMALS) else 1)
    facts = [
        {slot: rng.choice(SLOTS[slot]) for slot in ("action", *rng.sample(("colour", "place", "time"), rng.choice((1, 2))))}
        for _ in animals
    ]
    time_first = TIME_FIRST_HARDER if harder else TIME_FIRST
    clauses = [_clause(animal, known, rng.random() < time_first) for animal, known in zip(animals, facts, strict=True)]
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
    return "\n".join(text for i in range(2000) for text in _pair(rng, False, NLI[i % 3])[:2])


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
