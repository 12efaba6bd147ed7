"""The tasks by name. A new GLUE-like task is one entry in glue.py."""

from debft.tasks.classification import Layout, Split, TextClassification
from debft.tasks.glue import GLUE

Task = TextClassification

TASKS: dict[str, Task] = {task.name: task for task in GLUE}

__all__ = ["TASKS", "Layout", "Split", "Task", "TextClassification"]
