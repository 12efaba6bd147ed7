"""XNLI trains on one language and evaluates fifteen; those that are not trained on are zero-shot.

Source of row counts and label order: the dataset card of facebook/xnli; of the files: XNLI-1.0 and XNLI-MT-1.0 as published.
"""

from debft.tasks.classification import TextClassification
from debft.tasks.task import BenchmarkFiles, Split

# In the order of the published tables.
LANGUAGES = ("en", "fr", "es", "de", "el", "bg", "ru", "tr", "ar", "vi", "th", "zh", "hi", "sw", "ur")
_DEV_FILES = {
    f"{split}.{language}": f"xnli.{split.replace('validation', 'dev')}.tsv"
    for split in ("validation", "test")
    for language in LANGUAGES
}
_LANGUAGE_OF = {split: ("language", split.partition(".")[2]) for split in _DEV_FILES}
_PAIR = {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"}


def xnli(train_language: str = "en", languages: tuple[str, ...] = LANGUAGES) -> TextClassification:
    """Make the task that trains on `train_language` and evaluates `languages` on validation and test.

    The checkpoint is chosen by the validation rows of the training language alone: zero-shot stays zero-shot.
    """
    return TextClassification(
        name="xnli",
        title="XNLI",
        dataset="facebook/xnli",
        revision="b8dd5d7af51114dbda02c0e3f6133f332186418e",
        train=Split(f"train.{train_language}", train_language, "train", 392_702),
        evals=tuple(
            Split(f"{name}.{language}", language, name, rows)
            for name, rows in (("validation", 2_490), ("test", 5_010))
            for language in languages
        ),
        selection=(f"validation.{train_language}",),
        some_evals_suffice=True,
        text_keys=("premise", "hypothesis"),
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        benchmark_files=(
            *(BenchmarkFiles(directory, _DEV_FILES, _PAIR, where=_LANGUAGE_OF) for directory in ("", "xnli", "XNLI-1.0")),
            *(
                BenchmarkFiles(
                    directory,
                    {f"train.{language}": f"multinli.train.{language}.tsv" for language in LANGUAGES},
                    {"hypo": "hypothesis"},
                    labels={"contradictory": "contradiction"},
                )
                for directory in ("", "xnli", "XNLI-MT-1.0/multinli")
            ),
            BenchmarkFiles("mnli", {"train.en": "train.tsv"}),  # XNLI's English training rows are MNLI's
            BenchmarkFiles("MNLI", {"train.en": "train.tsv"}, _PAIR),
        ),
    )
