"""The tasks by name."""

from debft.config.recipe import TrainConfig
from debft.errors import InputError, did_you_mean
from debft.tasks.glue import GLUE
from debft.tasks.squad import SQUAD
from debft.tasks.task import Task
from debft.tasks.text import TEXT
from debft.tasks.xnli import LANGUAGES, xnli

TASKS: dict[str, Task] = {task.name: task for task in (*GLUE, *SQUAD, xnli(), TEXT)}


def task_of(name: str, config: TrainConfig) -> Task:
    """The task with its languages as `config` has them; `text` is only known once its data is read.

    Raises InputError for an unknown task or language.
    """
    if name not in TASKS:
        raise InputError(f"task: unknown task '{name}'{did_you_mean(name, TASKS)}")
    if name != "xnli":
        return TASKS[name]
    languages = tuple((",".join(LANGUAGES) if config.languages is None else config.languages).replace(" ", "").split(","))
    for key, language in (("train_language", config.train_language), *(("languages", language) for language in languages)):
        if language not in LANGUAGES:
            raise InputError(f"train.{key}: expected {', '.join(LANGUAGES)}, got {language!r}")
    return xnli(config.train_language, tuple(language for language in LANGUAGES if language in languages))
