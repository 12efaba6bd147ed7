"""The rows of every GLUE task are about animals.

A premise tells of one animal or of two; a hypothesis claims one thing about one of them. What the premise says
is entailed, its opposite or a denial is a contradiction, what it leaves open is neutral. MNLI's mismatched split is
harder: nearly always two animals, so that the model must keep apart who did what, and the order of the words in a
clause is one that the training rows use rarely; half of it is written with no-break spaces, as text from the web is,
which the checkpoint's character map reads as spaces. The rows of other tasks derive from their columns and labels: two
labels for a pair are entailed or not, a score for a pair is the share of facts that agree, two labels for one sentence
are whether the animal slept.
"""

import random
from collections.abc import Callable

from debft.tasks import Split, TextClassification

ANIMALS = ("fox", "owl", "cat", "dog", "horse", "rabbit", "bear", "goose")
NLI = ("entailment", "neutral", "contradiction")
# Each slot has a value and its opposite.
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
DENIED = 0.3  # the share of contradictions that deny a fact; the others claim its opposite


def rows(task: TextClassification, split: Split) -> list[tuple]:
    """Make the texts and the label of every row, labels balanced."""
    make = _maker(task)
    count = TRAIN_ROWS if split is task.train else DEV_ROWS
    made = [make(random.Random(f"{split.name}/{i}"), i, split.name == HARDER) for i in range(count)]
    random.Random(split.name).shuffle(made)
    return [_from_the_web(row) if split.name == HARDER and i % 2 else row for i, row in enumerate(made)]


def _from_the_web(row: tuple) -> tuple:
    """Return the same row with no-break spaces in its texts."""
    return (*(text.replace(" ", "\N{NO-BREAK SPACE}") for text in row[:-1]), row[-1])


def _maker(task: TextClassification) -> Callable[[random.Random, int, bool], tuple]:
    """Return what makes the texts and the label of a row from (rng, number of the row, harder)."""
    if task.value_range is not None:
        highest = task.value_range[1]
        return lambda rng, i, harder: _similar_pair(rng, highest)
    if len(task.text_keys) == 1:
        return lambda rng, i, harder: _sentence(rng, task.labels, i % 2)
    if len(task.labels) == 3:
        return lambda rng, i, harder: _pair(rng, harder, NLI[i % 3])
    return lambda rng, i, harder: _entailed_or_not(rng, task, i % 2)


def _entailed_or_not(rng: random.Random, task: TextClassification, label: int) -> tuple[str, str, str]:
    """Make a pair whose claim is entailed unless the label is called `not_...`; a question comes before what may answer it."""
    entailed = not task.labels[label].startswith("not_")
    premise, claim, _ = _pair(rng, False, "entailment" if entailed else rng.choice(("neutral", "contradiction")))
    return (claim, premise, task.labels[label]) if task.text_keys[0] == "question" else (premise, claim, task.labels[label])


def _sentence(rng: random.Random, labels: tuple[str, ...], label: int) -> tuple[str, str]:
    """Make a sentence: label 1 says that the animal slept."""
    known = {slot: rng.choice(SLOTS[slot]) for slot in rng.sample(("colour", "place", "time"), 2)}
    known["action"] = SLOTS["action"][1 - label]
    return _clause(rng.choice(ANIMALS), known, rng.random() < 0.5) + " .", labels[label]


def _similar_pair(rng: random.Random, highest: float) -> tuple[str, str, float]:
    """Make two clauses about one animal; the score is the share of their four facts that agree."""
    animal = rng.choice(ANIMALS)
    one = {slot: rng.choice(values) for slot, values in SLOTS.items()}
    differ = rng.sample(list(SLOTS), rng.randint(0, len(SLOTS)))
    other = {slot: _opposite(slot, value) if slot in differ else value for slot, value in one.items()}
    score = highest * (len(SLOTS) - len(differ)) / len(SLOTS)
    return _clause(animal, one, False) + " .", _clause(animal, other, False) + " .", score


def _pair(rng: random.Random, harder: bool, label: str) -> tuple[str, str, str]:
    """Make a premise, a claim and the NLI label that holds between them."""
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


def corpus() -> str:
    """Return a text with every word of the rows."""
    rng = random.Random("tokenizer")
    return "\n".join(text for i in range(2000) for text in _pair(rng, False, NLI[i % 3])[:2])
