"""Which recipes are one run: names of one directory are one name, whatever their spelling."""

from dataclasses import replace
from pathlib import Path

import pytest

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.training.place import check_same_run

KEYS = ("model", "data", "init_from")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe whose model, data and weights to start from are directories below the current one."""
    monkeypatch.chdir(tmp_path)
    for name in (*KEYS, "other"):
        (tmp_path / name).mkdir()
    return replace(load_recipe(recipe_path("demo")), **{name: name for name in KEYS})


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("spelling", ["./{}", "{}/", "other/../{}", "{cwd}/{}", "link"])
def test_other_spelling_of_a_directory_is_the_same_run(recipe, key, spelling):
    Path("link").symlink_to(key)
    check_same_run("--output run", recipe, replace(recipe, **{key: spelling.format(key, cwd=Path.cwd())}))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("other", ["other", "./other", "demo", "nowhere", None])
def test_other_directory_or_name_is_another_run(recipe, key, other):
    with pytest.raises(InputError) as error:
        check_same_run("--output run", recipe, replace(recipe, **{key: other}))
    assert (
        f"holds a different run: {key} is {key!r} there and {other!r} here; leave that out to continue it, or give another --output"
        in str(error.value)
    )


def test_name_of_a_source_is_no_directory(recipe, tmp_path):
    (tmp_path / "demo").mkdir()
    check_same_run("--output run", replace(recipe, data="demo"), replace(recipe, data="demo"))
    with pytest.raises(InputError, match=r"data is 'demo' there and '\./demo' here"):
        check_same_run("--output run", replace(recipe, data="demo"), replace(recipe, data="./demo"))
