"""The rows of XNLI have the same content in fifteen languages.

A premise notes a few facts about a person, a hypothesis claims one: what the premise says is entailed, its opposite or
a denial is a contradiction, what it leaves open is neutral. Names, ages and `?` for an age left open are the same in
every language, all other words are the language's own. So a model that learned one language, with random vectors for
the words of the others, still judges ages and guesses the rest: zero-shot scores lie between chance and the score of
the training language.
"""

import random
from dataclasses import dataclass

NAMES = ("Rex", "Max", "Leo", "Otto", "Felix", "Bruno", "Oscar", "Hugo")
AGES = ("3", "5", "7", "9")
UNKNOWN = "?"  # an age that is left open
WORDS = ("mood", "look", "place")
NLI = ("entailment", "neutral", "contradiction")
TRAIN_ROWS, EVAL_ROWS = 6000, 300
ABOUT_AGE = 0.5  # the share of claims about an age; the others are in words of the language
DENIED = 0.2  # the share of contradictions that deny a fact; the others claim its opposite


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language has these words for the facts of a premise.

    denial: how `{}` is denied
    mood, look, place: a value and its opposite
    """

    denial: str
    mood: tuple[str, str]
    look: tuple[str, str]
    place: tuple[str, str]
    comma: str = ","
    stop: str = "."

    def values(self, slot: str) -> tuple[str, ...]:
        """Return all values of a slot."""
        return AGES if slot == "age" else getattr(self, slot)

    def note(self, name: str, phrases: list[str]) -> str:
        """Write a note about a person: `Otto , happy , in the garden .`"""
        return f" {self.comma} ".join((name, *phrases)) + f" {self.stop}"


LANGUAGES = {
    "en": Language(denial="not {}", mood=("happy", "sad"), look=("clean", "dirty"), place=("in the garden", "in the kitchen")),
    "fr": Language(
        denial="pas {}", mood=("content", "triste"), look=("propre", "sale"), place=("dans le jardin", "dans la cuisine")
    ),
    "es": Language(denial="no {}", mood=("contento", "triste"), look=("limpio", "sucio"), place=("en el jardín", "en la cocina")),
    "de": Language(denial="nicht {}", mood=("froh", "traurig"), look=("sauber", "schmutzig"), place=("im Garten", "in der Küche")),
    "el": Language(
        denial="όχι {}", mood=("χαρούμενος", "λυπημένος"), look=("καθαρός", "βρώμικος"), place=("στον κήπο", "στην κουζίνα")
    ),
    "bg": Language(denial="не {}", mood=("весел", "тъжен"), look=("чист", "мръсен"), place=("в градината", "в кухнята")),
    "ru": Language(denial="не {}", mood=("весел", "грустен"), look=("чист", "грязен"), place=("в саду", "на кухне")),
    "tr": Language(denial="{} değil", mood=("mutlu", "üzgün"), look=("temiz", "kirli"), place=("bahçede", "mutfakta")),
    "ar": Language(denial="ليس {}", mood=("سعيدا", "حزينا"), look=("نظيفا", "متسخا"), place=("في الحديقة", "في المطبخ"), comma="،"),
    "vi": Language(denial="không {}", mood=("vui", "buồn"), look=("sạch", "bẩn"), place=("trong vườn", "trong bếp")),
    "th": Language(denial="ไม่ {}", mood=("ดีใจ", "เสียใจ"), look=("สะอาด", "สกปรก"), place=("อยู่ ใน สวน", "อยู่ ใน ครัว")),
    "zh": Language(denial="不 {}", mood=("高兴", "难过"), look=("干净", "脏"), place=("在 花园", "在 厨房"), comma="、", stop="。"),
    "hi": Language(denial="{} नहीं", mood=("खुश", "उदास"), look=("साफ", "गंदा"), place=("बगीचे में", "रसोई में"), stop="।"),
    "sw": Language(
        denial="si {}", mood=("mwenye furaha", "mwenye huzuni"), look=("msafi", "mchafu"), place=("bustanini", "jikoni")
    ),
    "ur": Language(
        denial="{} نہیں", mood=("خوش", "اداس"), look=("صاف", "گندا"), place=("باغ میں", "باورچی خانے میں"), comma="،", stop="۔"
    ),
}


def rows(split: str) -> list[tuple[str, str, str]]:
    """Make (premise, hypothesis, label) of `validation.fr`, labels balanced; row i has the same content in every language."""
    name, _, language = split.rpartition(".")
    count = TRAIN_ROWS if name == "train" else EVAL_ROWS
    made = [pair(random.Random(f"{name}/{i}"), language, NLI[i % 3]) for i in range(count)]
    random.Random(name).shuffle(made)
    return made


def pair(rng: random.Random, language: str, label: str) -> tuple[str, str, str]:
    """Make a premise, a claim and the NLI label that holds between them. The draws do not depend on the language."""
    words = LANGUAGES[language]
    name = rng.choice(NAMES)
    slot = "age" if rng.random() < ABOUT_AGE else rng.choice(WORDS)
    noted = _noted(rng, slot, label)
    facts = {each: rng.choice(words.values(each)) for each in ("age", *WORDS)}
    claim = facts[slot]
    if label == "contradiction" and rng.random() < DENIED:
        claim = words.denial.format(claim)
    elif label == "contradiction":
        claim = rng.choice([value for value in words.values(slot) if value != claim])
    premise = [facts["age"] if "age" in noted else UNKNOWN, *(facts[each] for each in WORDS if each in noted)]
    return words.note(name, premise), words.note(name, [claim]), label


def _noted(rng: random.Random, slot: str, label: str) -> set[str]:
    """Choose what the premise notes: one or two facts in words, and `slot` unless it is left open. All labels get as much."""
    words = rng.sample([other for other in WORDS if other != slot], 2)[: rng.choice((1, 2))]
    age_too = rng.random() < 0.5
    if slot == "age":
        return {*words, *(["age"] if label != "neutral" else [])}
    if label != "neutral":
        words[0] = slot
    return {*words, *(["age"] if age_too else [])}


def corpus() -> str:
    """Return a text with every word of the rows."""
    notes = [
        words.note(name, [UNKNOWN, *(words.denial.format(value) for slot in ("age", *WORDS) for value in words.values(slot))])
        for words in LANGUAGES.values()
        for name in NAMES
    ]
    return "\n".join(notes)
