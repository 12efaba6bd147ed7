"""Recipes: every packaged one, and every way to write a wrong one."""

import pytest

from debft.config.packaged import default_recipe_path, recipe_names, recipe_path
from debft.config.reading import from_dict, load_recipe, parse_set
from debft.config.recipe import to_dict
from debft.config.recipe_hash import recipe_hash
from debft.errors import InputError
from debft.models.names import MODELS
from debft.tasks import TASKS

# REFERENCE: epochs / warm-up / learning rate / batch / head dropout of experiments/glue/mnli.sh, and of the cards.
REPO = {
    "deberta-v3-xsmall-repo": (3, 1000, 4.5e-5, 64, 0.10),
    "deberta-v3-small-repo": (3, 1500, 4.5e-5, 64, 0.20),
    "deberta-v3-base-repo": (3, 1000, 1.5e-5, 64, 0.10),
    "deberta-v3-large-repo": (2, 500, 7e-6, 64, 0.30),
    "deberta-base": (3, 1000, 3e-5, 64, 0.10),
}
CARD = {
    "deberta-v3-xsmall": (3, 1000, 4.5e-5, 64, None),
    "deberta-v3-small": (3, 1500, 4.5e-5, 64, None),
    "deberta-v3-base": (3, 500, 2e-5, 64, None),
    "deberta-v3-large": (2, 50, 6e-6, 64, None),
}


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipe_is_valid_and_names_its_source(name):
    recipe = load_recipe(recipe_path(name))
    assert recipe.task in TASKS or name in ("default", "demo")
    assert recipe.source
    assert recipe.model is None or recipe.model in MODELS or recipe.model == "demo"
    assert from_dict(to_dict(recipe), "x") == recipe


# length / epochs / warm-up / learning rate / batch / head dropout
GLUE = {
    "deberta-v3-large": {
        "cola": (64, 10, 50, 5.5e-6, 32, 0.10),
        "sst2": (128, 8, 500, 6e-6, 32, 0.10),
        "mrpc": (128, 6, 50, 6e-6, 32, 0.20),
        "qnli": (512, 6, 200, 7e-6, 64, 0.20),
        "qqp": (320, 6, 1000, 1e-5, 64, 0.20),
        "rte": (320, 6, 50, 1e-5, 32, 0.30),
        "stsb": (128, 4, 50, 7e-6, 32, 0.10),
    },
    "deberta-base": {
        "cola": (64, 6, 100, 2e-5, 32, 0.15),
        "sst2": (128, 6, 500, 2e-5, 32, 0.15),
        "mrpc": (128, 6, 50, 2e-5, 32, 0.15),
        "qnli": (512, 4, 500, 2e-5, 32, 0.15),
        "qqp": (320, 8, 500, 2e-5, 64, 0.15),
        "rte": (320, 6, 100, 2e-5, 32, 0.20),
        "stsb": (128, 6, 100, 2e-5, 32, 0.15),
    },
    "deberta-v2-xxlarge": {
        "mnli": (256, 6, 1000, 3e-6, 64, 0.30),
        "cola": (64, 10, 100, 2.5e-6, 32, 0.20),
        "sst2": (128, 4, 500, 3e-6, 32, 0.20),
        "qnli": (512, 4, 500, 3e-6, 64, 0.20),
        "qqp": (320, 10, 1000, 3e-6, 64, 0.20),
        "rte": (320, 6, 50, 3e-6, 48, 0.20),
    },
}


@pytest.mark.parametrize(("model", "task"), [(model, task) for model, tasks in GLUE.items() for task in tasks])
def test_published_glue_recipe_has_the_published_values(model, task):
    recipe = load_recipe(default_recipe_path(task, model, sift=model == "deberta-v2-xxlarge"))
    train, text = recipe.train, recipe.text
    found = (
        text.max_seq_length,
        train.num_train_epochs,
        train.warmup_steps,
        train.learning_rate,
        train.train_batch_size,
        train.head_dropout,
    )
    assert found == GLUE[model][task]
    assert (recipe.dialect, text.swap_texts) == ("repo", task == "qnli")


@pytest.mark.parametrize(("name", "published"), [*REPO.items(), *CARD.items()])
def test_published_recipe_has_the_published_values(name, published):
    recipe = load_recipe(recipe_path(f"mnli/{name}"))
    train, text = recipe.train, recipe.text
    found = (train.num_train_epochs, train.warmup_steps, train.learning_rate, train.train_batch_size, train.head_dropout)
    assert found == published
    assert text.max_seq_length == 256
    assert recipe.dialect == ("repo" if name in REPO else "card")


def test_card_dialect_is_the_transformers_command():
    recipe = load_recipe(recipe_path("mnli/deberta-v3-xsmall"))
    train, text = recipe.train, recipe.text
    assert (train.bias_correction, train.adam_epsilon, train.weight_decay) == (True, 1e-8, 0.0)
    assert (train.schedule, train.steps, train.checkpoint, text.truncation) == ("linear", "up", "last", "longest_first")


def test_repo_dialect_is_the_microsoft_trainer():
    recipe = load_recipe(recipe_path("mnli/deberta-v3-xsmall-repo"))
    train, text = recipe.train, recipe.text
    assert (train.bias_correction, train.adam_epsilon, train.weight_decay) == (False, 1e-6, 0.01)
    assert (train.schedule, train.steps, train.checkpoint, text.truncation) == ("linear_unshifted", "down", "best", "random_ends")
    assert (train.eval_steps, train.eval_each_epoch) == (1000, True)


def test_default_recipe_is_the_published_one_or_the_tasks_default():
    assert default_recipe_path("mnli", "deberta-v3-base").stem == "deberta-v3-base"
    assert default_recipe_path("mnli", "my/model").stem == "default"


def test_every_error_of_a_file_is_reported_at_once(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "task: mnli\nmodle: a\ntrain:\n  warm_up_steps: 5\n  learning_rate: fast\n  train_batch_size: 2.5\n"
        "  schedule: cosine\n  adam_beta1: 1\n  bias_correction: on\nruntime: 3\n"
    )
    with pytest.raises(InputError) as error:
        load_recipe(path)
    assert set(error.value.problems) == {
        f"{path}: unknown key 'modle'; did you mean 'model'?",
        f"{path}: runtime: expected a mapping of keys to values, got 3",
        f"{path}: train: unknown key 'warm_up_steps'; did you mean 'warmup_steps'?",
        f"{path}: train.learning_rate: expected a number, got 'fast'",
        f"{path}: train.train_batch_size: expected a whole number, got 2.5",
        f"{path}: train.schedule: expected one of linear, linear_unshifted, got 'cosine'",
        f"{path}: train.adam_beta1: expected a number below 1, got 1",
        f"{path}: train.bias_correction: expected true or false, got 'on'",
    }


@pytest.mark.parametrize("text", ["2e-5", "2.0e-5", "0.00002"])
def test_learning_rate_is_a_number_with_or_without_a_dot(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(f"task: mnli\ntrain:\n  learning_rate: {text}\n")
    assert load_recipe(path).train.learning_rate == 2e-5


def test_override_wins_over_file_and_dialect(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("task: mnli\ndialect: repo\ntrain:\n  weight_decay: 0.1\n")
    train = load_recipe(path, {"train.adam_epsilon": 1e-5}).train
    assert (train.weight_decay, train.adam_epsilon, train.bias_correction) == (0.1, 1e-5, False)


def test_wrong_override_is_named_as_it_was_typed():
    with pytest.raises(InputError, match=r"^--learning-rate: expected a number above 0, got -1$"):
        load_recipe(recipe_path("demo"), {"train.learning_rate": -1}, {"train.learning_rate": "--learning-rate"})


def test_set_reads_values_as_yaml():
    assert parse_set(["train.adam_epsilon=1e-6", "runtime.save_steps=null"]) == {
        "train.adam_epsilon": 1e-6,
        "runtime.save_steps": None,
    }


@pytest.mark.parametrize("text", ["learning_rate=1", "train.seed", "model.x=1", "train.=3"])
def test_set_outside_the_sections_is_refused(text):
    with pytest.raises(InputError, match=r"expected SECTION\.KEY=VALUE, where SECTION is one of train, text, own, questions, "):
        parse_set([text])


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean 'mnli/deberta-v3-xsmall'"):
        recipe_path("mnli/deberta-v3-xsmal")


def test_hash_moves_with_what_moves_the_score_alone():
    base = load_recipe(recipe_path("demo"))
    assert recipe_hash(base) == recipe_hash(load_recipe(recipe_path("demo"), {"runtime.save_steps": 7}))
    assert recipe_hash(base) != recipe_hash(load_recipe(recipe_path("demo"), {"train.seed": 7}))


@pytest.mark.parametrize(
    "content",
    [
        "dialect: [card]\n",
        "? [a]\n: 1\n",
        "task: !!int x\n",
        "task: !!timestamp x\n",
        "train:\n  seed: " + "9" * 5000,
        "a: " + "[" * 3000,
        "train:\n  learning_rate: .nan\n",
        "train:\n  learning_rate: 1e999\n",
        'note: "\\ud800"\n',
        "train:\n  seed: " + "1" * 400,
        "train:\n  learning_rate: " + "1" * 400,
    ],
    ids=range(11),
)
def test_odd_yaml_is_an_input_error(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_recipe(path)
