"""This task is of the user's own texts: columns, labels and metrics are read off the data; those here are the demo's."""

from debft.tasks.classification import TextClassification
from debft.tasks.task import Split

TEXT = TextClassification(
    name="text",
    title="your own data",
    dataset="",
    revision="",
    train=Split("train", "", "train"),
    evals=(Split("validation", "", "validation"),),
    text_keys=("text",),
    labels=("negative", "positive"),
    numbered=False,
    metrics=("accuracy", "macro_f1"),
    in_root=True,
)
