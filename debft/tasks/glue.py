"""The GLUE tasks. `revision` is the commit of nyu-mll/glue that every run reads."""

from debft.tasks.classification import Split, TextClassification

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

GLUE = (
    TextClassification(
        name="mnli", dataset="nyu-mll/glue", revision=REVISION,
        train=Split("train", "mnli", "train", "train.tsv", 392_702),
        evals=(
            Split("validation_matched", "mnli", "validation_matched", "dev_matched.tsv", 9_815),
            Split("validation_mismatched", "mnli", "validation_mismatched", "dev_mismatched.tsv", 9_832),
        ),
        text_keys=("premise", "hypothesis"), labels=("entailment", "neutral", "contradiction"), metrics=("accuracy",),
        benchmark_dir="MNLI", benchmark_columns={"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
    ),
)  # fmt: skip
