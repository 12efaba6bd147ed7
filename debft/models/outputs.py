"""A model's outputs have names, those of its config.json or those of the task that it learns."""

from debft.models.files import ModelFiles
from debft.models.json_files import read_config
from debft.tasks import QuestionAnswering, Task

SCORE_LABEL = "score"  # the name of a regression's only output


def model_labels(files: ModelFiles, task: Task) -> tuple[str, ...]:
    """Return the label names in the order of the model's outputs; `score` for a regression, `start` and `end` for spans.

    A fine-tuned checkpoint that names the task's labels in another order keeps its order; every other model gets
    the task's. Source of the trap: huggingface/transformers issues 10401, 12822.
    """
    if isinstance(task, QuestionAnswering):
        return ("start", "end")
    if task.is_regression:
        return (SCORE_LABEL,)
    names = list(model_names(files))
    by_lower = {label.lower(): label for label in task.labels}
    if len(by_lower) < len(task.labels):  # own labels that differ in case alone
        return tuple(names) if sorted(names) == sorted(task.labels) else task.labels
    if sorted(name.lower() for name in names) == sorted(by_lower):
        return tuple(by_lower[name.lower()] for name in names)
    return task.labels


def model_names(files: ModelFiles) -> tuple[str, ...]:
    """Return the names of the outputs as the checkpoint or config.json has them, () where it names none."""
    if files.checkpoint is not None and files.labels:
        return files.labels
    id2label = read_config(files.path).get("id2label") or {}
    return tuple(str(id2label[key]) for key in sorted(id2label, key=int))


def output_names(files: ModelFiles) -> tuple[str, ...]:
    """Return the names of the outputs as transformers has them: LABEL_0, LABEL_1, ... where config.json names none."""
    return model_names(files) or tuple(f"LABEL_{i}" for i in range(read_config(files.path).get("num_labels") or 2))


def are_numbers(names: tuple[str, ...]) -> bool:
    """Return whether outputs have no names but their numbers, as transformers gives them to a model that names none."""
    return all(name.upper() == f"LABEL_{i}" for i, name in enumerate(names))
