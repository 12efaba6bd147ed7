"""These are the GLUE tasks, an entry each.

Source of row counts and label order: the dataset card of nyu-mll/glue.
"""

from typing import Any

from debft.tasks.classification import TextClassification
from debft.tasks.task import BenchmarkFiles, Split

DEV = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def _glue(name: str, train_rows: int, dev_rows: int, test_rows: int, **entry: Any) -> TextClassification:
    """Make the task whose training, dev and test split have one name on the hub; `entry` gives what differs."""
    return TextClassification(
        name=name,
        dataset="nyu-mll/glue",
        revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
        train=Split("train", name, "train", train_rows),
        evals=entry.pop("evals", (Split("validation", name, "validation", dev_rows),)),
        test=entry.pop("test", (Split("test", name, "test", test_rows),)),
        **entry,
    )


GLUE = (
    _glue(
        "mnli",
        392_702,
        9_815,
        9_796,
        title="MNLI",
        evals=(
            Split("validation_matched", "mnli", "validation_matched", 9_815),
            Split("validation_mismatched", "mnli", "validation_mismatched", 9_832),
        ),
        test=(
            Split("test_matched", "mnli", "test_matched", 9_796),
            Split("test_mismatched", "mnli", "test_mismatched", 9_847),
            Split("ax", "ax", "test", 1_104),
        ),
        text_keys=("premise", "hypothesis"),
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        benchmark_files=(
            BenchmarkFiles(
                "MNLI",
                {
                    "train": "train.tsv",
                    **{
                        f"{split}_{part}": f"{file}_{part}.tsv"
                        for split, file in (("validation", "dev"), ("test", "test"))
                        for part in ("matched", "mismatched")
                    },
                },
                {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"},
            ),
            BenchmarkFiles("diagnostic", {"ax": "diagnostic.tsv"}, {"sentence1": "premise", "sentence2": "hypothesis"}),
        ),
    ),
    _glue(
        "cola",
        8_551,
        1_043,
        1_063,
        title="CoLA",
        text_keys=("sentence",),
        labels=("unacceptable", "acceptable"),
        metrics=("matthews_correlation",),
        benchmark_files=(
            BenchmarkFiles("CoLA", {"train": "train.tsv", "validation": "dev.tsv"}, header=("source", "label", "mark", "sentence")),
            BenchmarkFiles("CoLA", {"test": "test.tsv"}),
        ),
    ),
    _glue(
        "sst2",
        67_349,
        872,
        1_821,
        title="SST-2",
        text_keys=("sentence",),
        labels=("negative", "positive"),
        metrics=("accuracy",),
        benchmark_files=(BenchmarkFiles("SST-2", DEV),),
    ),
    _glue(
        "mrpc",
        3_668,
        408,
        1_725,
        title="MRPC",
        text_keys=("sentence1", "sentence2"),
        labels=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        benchmark_files=(BenchmarkFiles("MRPC", DEV, {"#1 String": "sentence1", "#2 String": "sentence2", "Quality": "label"}),),
    ),
    _glue(
        "stsb",
        5_749,
        1_500,
        1_379,
        title="STS-B",
        text_keys=("sentence1", "sentence2"),
        value_range=(0.0, 5.0),
        metrics=("pearson", "spearmanr"),
        benchmark_files=(
            BenchmarkFiles("STS-B", DEV, {"score": "label"}),
            BenchmarkFiles(
                "stsb",
                {"train": "stsb-en-train.csv", "validation": "stsb-en-dev.csv", "test": "stsb-en-test.csv"},
                header=("sentence1", "sentence2", "label"),
            ),
        ),
    ),
    _glue(
        "qqp",
        363_846,
        40_430,
        390_965,
        title="QQP",
        text_keys=("question1", "question2"),
        labels=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        benchmark_files=(BenchmarkFiles("QQP", DEV, {"is_duplicate": "label"}),),
    ),
    _glue(
        "qnli",
        104_743,
        5_463,
        5_463,
        title="QNLI",
        text_keys=("question", "sentence"),
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        benchmark_files=(BenchmarkFiles("QNLI", DEV),),
    ),
    _glue(
        "rte",
        2_490,
        277,
        3_000,
        title="RTE",
        text_keys=("sentence1", "sentence2"),
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        benchmark_files=(BenchmarkFiles("RTE", DEV),),
    ),
    _glue(
        "wnli",
        635,
        71,
        146,
        title="WNLI",
        text_keys=("sentence1", "sentence2"),
        labels=("not_entailment", "entailment"),
        metrics=("accuracy",),
        benchmark_files=(BenchmarkFiles("WNLI", DEV),),
    ),
)
