"""The rows of SQuAD have a context about animals, a question, and the place in the context that answers it.

Each animal has a clause of its own, which tells what it did and most of its colour, place and time. A
question has no answer where the context does not know the animal or leaves that fact open. A few contexts are filled
up to more than LONG_TOKENS tokens, so that windows of that length slide over them.
"""

import random
from dataclasses import dataclass

ANIMALS = ("fox", "owl", "cat", "dog", "horse")
COLOURS = ("white", "black", "brown", "grey")
PLACES = ("garden", "kitchen", "forest", "barn")
TIMES = ("morning", "evening", "night", "winter")
ACTIONS = {"slept": "sleep", "worked": "work", "sang": "sing", "waited": "wait"}
FILLERS = ("it was a long and quiet day .", "nobody knew how warm it was .", "then it rained for an hour .")
KINDS = ("colour", "place", "time", "animal")  # what a question asks for
TRAIN_ROWS, DEV_ROWS = 6000, 600
CLAUSES = (1, 2)  # a model this small takes many minutes to find the right one of three
ANIMAL_UNKNOWN = 0.5  # the share of unanswerable questions about an unknown animal; in the others a fact is left open
LONG, LONG_TOKENS = 0.05, 64  # the share of long contexts, and the tokens that they exceed
TWO_ANSWERS = 0.1  # the share of dev questions with two gold answers, where a second one is as good


@dataclass(frozen=True, kw_only=True)
class Clause:
    """A clause says what an animal did, and its colour, place and time; None is what it leaves open."""

    animal: str
    action: str
    colour: str | None
    place: str | None
    time: str | None

    def text(self) -> str:
        """Write the clause."""
        who = " ".join(["the", *([self.colour] if self.colour else []), self.animal])
        return " ".join([who, self.action, *(f"in the {fact}" for fact in (self.place, self.time) if fact), "."])

    def question(self, about: str) -> str:
        """Ask for one of KINDS."""
        return {
            "colour": f"which colour was the {self.animal} ?",
            "place": f"where was the {self.animal} ?",
            "time": f"when did the {self.animal} {ACTIONS[self.action]} ?",
            "animal": f"who was in the {self.place} ?",
        }[about]

    def answers(self, about: str) -> list[str]:
        """Return the answer that training rows have, then one that is as good; none where the fact is left open."""
        return {
            "colour": [self.colour] if self.colour else [],
            "place": [f"the {self.place}", f"in the {self.place}"] if self.place else [],
            "time": [f"the {self.time}", f"in the {self.time}"] if self.time else [],
            "animal": [f"{self.colour} {self.animal}", self.animal] if self.colour else [self.animal],
        }[about]


def rows(split: str, count: int, *, unanswerable: bool = True) -> dict[str, list]:
    """Make the columns id, context, question, answers of `count` rows; answers as on the hub, {"text": [], "answer_start": []}.

    Every third question has no answer; with `unanswerable=False`, as in SQuAD 1.1, each has one.
    """
    columns: dict[str, list] = {"id": [], "context": [], "question": [], "answers": []}
    for i in range(count):
        rng = random.Random(f"questions/{split}/{i}")
        context, question, answers = example(rng, not unanswerable or i % 3 != 2, several=split != "train")
        texts, starts = [text for text, _ in answers], [start for _, start in answers]
        row = (f"demo-{split}-{i:06d}", context, question, {"text": texts, "answer_start": starts})
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return columns


def example(rng: random.Random, answerable: bool, *, several: bool = False) -> tuple[str, str, list[tuple[str, int]]]:
    """Make (context, question, [(answer, its first character in the context)]); several: sometimes two answers."""
    clauses = _clauses(rng)
    texts = [clause.text() for clause in clauses]
    if rng.random() < LONG:
        while len(" ".join(texts).split()) <= LONG_TOKENS:
            texts.insert(rng.randint(0, len(texts)), rng.choice(FILLERS))
    context = " ".join(texts)
    if not answerable:
        return context, _unanswered(rng, clauses), []
    about, clause = _choose(rng, [(about, clause) for about in KINDS for clause in clauses if _answered(about, clause)])
    answers = clause.answers(about)
    kept = answers if several and rng.random() < TWO_ANSWERS else answers[:1]
    offset = context.index(clause.text())
    return context, clause.question(about), [(answer, offset + clause.text().index(answer)) for answer in kept]


def _clauses(rng: random.Random) -> list[Clause]:
    """Make clauses about animals in places that are all different."""
    animals = rng.sample(ANIMALS, rng.choice(CLAUSES))
    places = rng.sample([*PLACES, None], len(animals))
    return [_clause(rng, animal, place) for animal, place in zip(animals, places, strict=True)]


def _clause(rng: random.Random, animal: str, place: str | None) -> Clause:
    """Draw what an animal did, and leave at most one fact open."""
    left_open = rng.choice(("colour", "place", "time", None))
    return Clause(
        animal=animal,
        action=rng.choice(list(ACTIONS)),
        colour=None if left_open == "colour" else rng.choice(COLOURS),
        place=None if left_open == "place" else place,
        time=None if left_open == "time" else rng.choice(TIMES),
    )


def _answered(about: str, clause: Clause) -> bool:
    """Tell whether the clause answers a question of this kind."""
    return bool(clause.answers(about)) and (about != "animal" or clause.place is not None)


def _choose(rng: random.Random, candidates: list[tuple[str, Clause]]) -> tuple[str, Clause]:
    """Draw a kind of question, each as likely as another, and a clause for it."""
    about = rng.choice(sorted({about for about, _ in candidates}))
    return about, rng.choice([clause for kind, clause in candidates if kind == about])


def _unanswered(rng: random.Random, clauses: list[Clause]) -> str:
    """Ask about an animal that the context does not know, or about what it leaves open."""
    taken = {clause.place for clause in clauses}
    animal = rng.choice([animal for animal in ANIMALS if animal not in {clause.animal for clause in clauses}])
    stranger = _clause(rng, animal, rng.choice([place for place in PLACES if place not in taken] or [None]))
    left_open = [(about, clause) for about in KINDS for clause in clauses if not _answered(about, clause) and about != "animal"]
    if stranger.place:
        left_open.append(("animal", stranger))
    if rng.random() < ANIMAL_UNKNOWN or not left_open:
        return stranger.question(rng.choice([about for about in KINDS if about != "animal"]))
    about, clause = _choose(rng, left_open)
    return clause.question(about)


def corpus() -> str:
    """Return a text with every word of the rows."""
    made = rows("train", 1000)
    return "\n".join([*made["context"], *made["question"], *FILLERS])
