"""The tasks by name."""

from debft.config.recipe import LanguageConfig
from debft.errors import InputError, did_you_mean
from debft.tasks.glue import GLUE
from debft.tasks.squad import SQUAD
from debft.tasks.task import Task
from debft.tasks.text import TEXT
from debft.tasks.xnli import LANGUAGES, xnli

TASKS: dict[str, Task] = {task.name: task for task in (*GLUE, *SQUAD, xnli(), TEXT)}


def task_of(name: str, config: LanguageConfig) -> Task:
    """Return the task with its languages as `config` has them; that of own data is only known once its data is read.

    Raises InputError for an unknown task or language.
    """
    if name not in TASKS:
        raise InputError(f"task: unknown task '{name}'{did_you_mean(name, TASKS)}")
    if name != "xnli":
        return TASKS[name]
    asked = ",".join(LANGUAGES) if config.eval_languages is None else config.eval_languages
    evaluated = tuple(asked.replace(" ", "").split(","))
    for key, language in (("train_language", config.train_language), *(("eval_languages", language) for language in evaluated)):
        if language not in LANGUAGES:
            raise InputError(f"languages.{key}: expected {', '.join(LANGUAGES)}, got {language!r}")
    return xnli(config.train_language, tuple(language for language in LANGUAGES if language in evaluated))
