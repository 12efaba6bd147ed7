"""What the types of a recipe cannot say: every problem of a file at once, each with the file and the key."""

import pytest

from debft.config.recipe import Recipe, with_values
from debft.errors import InputError
from debft.tasks.rules import check_recipe

LANGUAGES = "en, fr, es, de, el, bg, ru, tr, ar, vi, th, zh, hi, sw, ur"


def problems_of(**values) -> tuple[str, ...]:
    recipe = with_values(Recipe(task="squad2", model="x"), {key.replace("__", "."): value for key, value in values.items()})
    with pytest.raises(InputError) as error:
        check_recipe(recipe, "x.yaml")
    return error.value.problems


def test_every_problem_for_the_task_is_reported_at_once_with_its_file():
    changes = {"train__head_dropout": 0.1, "train__warmup_steps": 3.5, "text__max_seq_length": 40, "own__problem": "regression"}
    assert problems_of(languages__eval_languages="fr", **changes) == (
        "x.yaml: languages.eval_languages: is for XNLI, the task is squad2; leave it out",
        "x.yaml: own.problem: is for own data, the task is squad2; leave it out",
        "x.yaml: train.head_dropout: is for classification, the task is squad2; leave it out",
        "x.yaml: train.warmup_steps: expected a whole number of steps or a fraction below 1, got 3.5",
        "x.yaml: text.max_seq_length: expected at least 197 for windows that share 128 tokens (doc_stride) beside a question of "
        "64 (max_question_length), got 40",
    )


def test_every_unknown_language_is_reported_at_once_with_its_file():
    assert problems_of(task="xnli", languages__train_language="xx", languages__eval_languages="fr,yy") == (
        f"x.yaml: languages.train_language: expected {LANGUAGES}, got 'xx'",
        f"x.yaml: languages.eval_languages: expected {LANGUAGES}, got 'yy'",
    )


@pytest.mark.parametrize(("task", "message"), [(None, "expected a task"), ("mnly", "unknown task 'mnly'; did you mean 'mnli'")])
def test_task_that_is_none_is_reported_with_its_file(task, message):
    (line,) = problems_of(task=task)
    assert line.startswith(f"x.yaml: task: {message}")


def test_recipe_that_can_work_passes():
    check_recipe(Recipe(task="squad2", model="x", text=with_values(Recipe(), {"text.max_seq_length": 197}).text), "x.yaml")
