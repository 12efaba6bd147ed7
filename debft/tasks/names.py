"""This module finds a task by its name."""

from debft.config.reading import Problem
from debft.config.recipe import LanguageConfig
from debft.errors import InputError, did_you_mean, one_of
from debft.tasks.glue import GLUE
from debft.tasks.kinds import Task
from debft.tasks.squad import SQUAD
from debft.tasks.text import TEXT
from debft.tasks.xnli import LANGUAGES, xnli

TASKS: dict[str, Task] = {task.name: task for task in (*GLUE, *SQUAD, xnli(), TEXT)}


def task_of(name: str, config: LanguageConfig, where: str = "") -> Task:
    """Find the task, with its languages as `config` has them; that of own data is only known once its data is read.

    where: the file that names it, for the error lines
    Raises InputError for an unknown task, and for each unknown language.
    """
    if name not in TASKS:
        raise InputError(Problem(path="task", message=f"unknown task '{name}'{did_you_mean(name, TASKS)}").line(where))
    if name != "xnli":
        return TASKS[name]
    asked = ",".join(LANGUAGES) if config.eval_languages is None else config.eval_languages
    evaluated = tuple(asked.replace(" ", "").split(","))
    places = [("train_language", config.train_language), *(("eval_languages", language) for language in evaluated)]
    problems = [
        Problem(path=f"languages.{key}", message=f"expected {one_of(LANGUAGES)}, got {language!r}")
        for key, language in places
        if language not in LANGUAGES
    ]
    if problems:
        raise InputError(*(problem.line(where) for problem in problems))
    return xnli(config.train_language, tuple(language for language in LANGUAGES if language in evaluated))
