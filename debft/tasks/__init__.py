"""This room holds the tasks as data. A new GLUE-like task is one entry in glue.py."""

from debft.tasks.classification import TextClassification
from debft.tasks.kinds import Task
from debft.tasks.names import TASKS, task_of
from debft.tasks.squad import QuestionAnswering
from debft.tasks.task import BenchmarkFiles, Split
from debft.tasks.text import TEXT
from debft.tasks.xnli import LANGUAGES

__all__ = ["LANGUAGES", "TASKS", "TEXT", "BenchmarkFiles", "QuestionAnswering", "Split", "Task", "TextClassification", "task_of"]
