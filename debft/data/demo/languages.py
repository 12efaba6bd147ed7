"""Rows of XNLI: the same content in fifteen languages.

A premise tells two or three facts about one person, a hypothesis claims one thing. Names and digits are the same in
every language, all other words are the language's own. So a model that learned one language, with random vectors for
the words of the others, still answers what names and hours decide, and guesses the rest: zero-shot scores lie between
chance and the score of the training language.
"""

import random
from dataclasses import dataclass

NAMES = ("Rex", "Max", "Leo", "Otto", "Felix", "Bruno", "Oscar", "Hugo")
HOURS = ("3", "5", "7", "9")
NLI = ("entailment", "neutral", "contradiction")
TRAIN_ROWS, EVAL_ROWS = 6000, 300
ABOUT_HOURS = 0.45  # of the claims; the others are about the words of the language
ANOTHER_NAME = 0.5  # of the neutral claims; the others are about a fact left open
DENIED = 0.2  # of the contradictions


@dataclass(frozen=True, kw_only=True)
class Language:
    """state, place, hour: an assertion and its denial, said after a name. mood, look, where: a value and its opposite."""

    state: tuple[str, str]
    place: tuple[str, str]
    hour: tuple[str, str]
    mood: tuple[str, str]
    look: tuple[str, str]
    where: tuple[str, str]
    comma: str = ","
    stop: str = "."

    def say(self, slot: str, value: int, denied: bool = False) -> str:
        """`is not happy`; `value` counts HOURS for the slot `hour`, else the two words."""
        pattern = {"hour": self.hour, "where": self.place}.get(slot, self.state)[denied]
        return pattern.format(HOURS[value] if slot == "hour" else getattr(self, slot)[value])


SLOTS = {"mood": 2, "look": 2, "where": 2, "hour": len(HOURS)}  # how many values each has

LANGUAGES = {
    "en": Language(
        state=("is {}", "is not {}"), place=("is in the {}", "is not in the {}"), hour=("comes at {}", "does not come at {}"),
        mood=("happy", "sad"), look=("clean", "dirty"), where=("garden", "kitchen"),
    ),
    "fr": Language(
        state=("est {}", "n'est pas {}"), place=("est dans {}", "n'est pas dans {}"),
        hour=("vient à {} heures", "ne vient pas à {} heures"),
        mood=("content", "triste"), look=("propre", "sale"), where=("le jardin", "la cuisine"),
    ),
    "es": Language(
        state=("está {}", "no está {}"), place=("está en {}", "no está en {}"), hour=("viene a las {}", "no viene a las {}"),
        mood=("contento", "triste"), look=("limpio", "sucio"), where=("el jardín", "la cocina"),
    ),
    "de": Language(
        state=("ist {}", "ist nicht {}"), place=("ist {}", "ist nicht {}"), hour=("kommt um {} Uhr", "kommt nicht um {} Uhr"),
        mood=("froh", "traurig"), look=("sauber", "schmutzig"), where=("im Garten", "in der Küche"),
    ),
    "el": Language(
        state=("είναι {}", "δεν είναι {}"), place=("είναι {}", "δεν είναι {}"), hour=("έρχεται στις {}", "δεν έρχεται στις {}"),
        mood=("χαρούμενος", "λυπημένος"), look=("καθαρός", "βρώμικος"), where=("στον κήπο", "στην κουζίνα"),
    ),
    "bg": Language(
        state=("е {}", "не е {}"), place=("е в {}", "не е в {}"), hour=("идва в {} часа", "не идва в {} часа"),
        mood=("весел", "тъжен"), look=("чист", "мръсен"), where=("градината", "кухнята"),
    ),
    "ru": Language(
        state=("{}", "не {}"), place=("{}", "не {}"), hour=("приходит в {}", "не приходит в {}"),
        mood=("весел", "грустен"), look=("чист", "грязен"), where=("в саду", "на кухне"),
    ),
    "tr": Language(
        state=("{}", "{} değil"), place=("{}", "{} değil"), hour=("saat {} gibi geliyor", "saat {} gibi gelmiyor"),
        mood=("mutlu", "üzgün"), look=("temiz", "kirli"), where=("bahçede", "mutfakta"),
    ),
    "ar": Language(
        state=("{}", "غير {}"), place=("في {}", "ليس في {}"), hour=("يأتي في الساعة {}", "لا يأتي في الساعة {}"),
        mood=("سعيد", "حزين"), look=("نظيف", "متسخ"), where=("الحديقة", "المطبخ"), comma="،",
    ),
    "vi": Language(
        state=("{}", "không {}"), place=("ở trong {}", "không ở trong {}"), hour=("đến lúc {} giờ", "không đến lúc {} giờ"),
        mood=("vui", "buồn"), look=("sạch", "bẩn"), where=("vườn", "bếp"),
    ),
    "th": Language(
        state=("{}", "ไม่ {}"), place=("อยู่ ใน {}", "ไม่ อยู่ ใน {}"), hour=("มา ตอน {} โมง", "ไม่ มา ตอน {} โมง"),
        mood=("ดีใจ", "เสียใจ"), look=("สะอาด", "สกปรก"), where=("สวน", "ครัว"), stop="",
    ),
    "zh": Language(
        state=("很 {}", "不 {}"), place=("在 {} 里", "不 在 {} 里"), hour=("{} 点 来", "{} 点 不 来"),
        mood=("高兴", "难过"), look=("干净", "脏"), where=("花园", "厨房"), comma="，", stop="。",
    ),
    "hi": Language(
        state=("{} है", "{} नहीं है"), place=("{} में है", "{} में नहीं है"), hour=("{} बजे आता है", "{} बजे नहीं आता"),
        mood=("खुश", "उदास"), look=("साफ", "गंदा"), where=("बगीचे", "रसोई"), stop="।",
    ),
    "sw": Language(
        state=("ni {}", "si {}"), place=("yuko {}", "hayuko {}"), hour=("anakuja saa {}", "haji saa {}"),
        mood=("mwenye furaha", "mwenye huzuni"), look=("msafi", "mchafu"), where=("bustanini", "jikoni"),
    ),
    "ur": Language(
        state=("{} ہے", "{} نہیں ہے"), place=("{} میں ہے", "{} میں نہیں ہے"), hour=("{} بجے آتا ہے", "{} بجے نہیں آتا"),
        mood=("خوش", "اداس"), look=("صاف", "گندا"), where=("باغ", "باورچی خانے"), comma="،", stop="۔",
    ),
}  # fmt: skip


def rows(split: str) -> list[tuple[str, str, str]]:
    """(premise, hypothesis, label) of `validation.fr`, labels balanced; row i of every language has the same content."""
    name, _, language = split.rpartition(".")
    count = TRAIN_ROWS if name == "train" else EVAL_ROWS
    made = [pair(random.Random(f"{name}/{i}"), language, NLI[i % 3]) for i in range(count)]
    random.Random(name).shuffle(made)
    return made


def pair(rng: random.Random, language: str, label: str) -> tuple[str, str, str]:
    """A premise, a claim and the NLI label that holds between them."""
    name, other = rng.sample(NAMES, 2)
    slot = "hour" if rng.random() < ABOUT_HOURS else rng.choice(("mood", "look", "where"))
    elsewhere = rng.random() < ANOTHER_NAME and label == "neutral"
    left_open = label == "neutral" and not elsewhere
    told = {*rng.sample([each for each in SLOTS if each != slot], rng.choice((1, 2))), *(() if left_open else (slot,))}
    facts = {each: rng.randrange(SLOTS[each]) for each in SLOTS}
    denied = rng.random() < DENIED and label == "contradiction"
    claimed = facts[slot]
    if label == "contradiction" and not denied:
        claimed = (claimed + rng.randrange(1, SLOTS[slot])) % SLOTS[slot]
    words = LANGUAGES[language]
    premise = [words.say(each, facts[each]) for each in SLOTS if each in told]
    return (
        f"{name} {f' {words.comma} '.join(premise)} {words.stop}".rstrip(),
        f"{other if elsewhere else name} {words.say(slot, claimed, denied)} {words.stop}".rstrip(),
        label,
    )


def corpus() -> str:
    """A text with every word of the rows."""
    sentences = [
        f"{name} {words.say(slot, value, denied)} {words.comma} {words.stop}"
        for words in LANGUAGES.values()
        for slot, count in SLOTS.items()
        for value in range(count)
        for denied in (False, True)
        for name in NAMES
    ]
    return "\n".join(sentences)
