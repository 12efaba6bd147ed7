"""This module gives tasks and their scores the names that people know them by."""

from debft.tasks.names import TASKS

# The parts of MNLI, as papers print them.
PARTS = {"matched": "m", "mismatched": "mm"}
METRICS = {
    "exact_match": "EM",
    "matthews_correlation": "Matthews",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
    "grad_norm": "gradient norm",
    "num_tokens": "tokens",
}


def task_title(name: str) -> str:
    """Return `MNLI` for `mnli`; of an unknown task the name as it is."""
    return TASKS[name].title or name if name in TASKS else name


def score_title(task: str, score: str) -> str:
    """Return the short name of a score of a task: `MNLI-m`, `CoLA Matthews`, `SQuAD 2.0 F1`, `XNLI test avg`, `test macro F1`.

    The split stands in it where a task has several; of own data always, since it has those that the user gave it.
    """
    split, _, metric = score.partition("/")
    part, _, rest = split.partition(".")
    kind, _, of = part.partition("_")
    if kind == "train":  # what training logged
        return f"train {metric_title(metric)}"
    title = "" if task == "text" else task_title(task)
    if of in PARTS:
        return f"{title}-{PARTS[of]}" + ("" if kind == "validation" else f" {kind}")
    only = task != "text" and not rest and kind == "validation"
    words = [title, "" if only else part.replace("_", " "), rest, "" if task == "xnli" else metric_title(metric)]
    return " ".join(filter(None, words))


def metric_title(metric: str) -> str:
    """Return `macro F1` for `macro_f1`."""
    return METRICS.get(metric, " ".join("F1" if word == "f1" else word for word in metric.split("_")))
