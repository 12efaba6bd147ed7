"""A recipe runs in the precision that it asks for where this machine has it; a person is told what that costs."""

from collections.abc import Callable

from debft.config.packaged import default_recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.runtime.devices import check_precision


def precision_for(recipe: Recipe, check: Callable[[str], str] = check_precision) -> tuple[str, str]:
    """Return (precision, remark): where the precision comes from or what it costs, "" where there is nothing to remark.

    SiFT runs as its recipe was published, and in fp32 where no recipe was: bf16, which `auto` takes elsewhere, rounds its
    ascent away (tests/test_sift_precision.py, benchmarks/RESULTS.md). A recipe's precision that this machine lacks becomes
    fp32; the command line has refused one that was given there.

    check: tells what the hardware has, as `check_precision` does
    """
    asked, published = recipe.runtime.precision, _published(recipe) if recipe.sift.weight else None
    wanted = (published or "fp32") if recipe.sift.weight and asked == "auto" else asked
    try:
        precision = check(wanted)
    except InputError:
        owner = "published" if wanted == published else "recipe's"
        return "fp32", f"the {owner} {wanted} is not there on this machine"
    return precision, _remark(precision, asked, published) if recipe.sift.weight else ""


def _remark(precision: str, asked: str, published: str | None) -> str:
    """Return the remark on SiFT in `precision`, "" where there is none."""
    if precision == published:
        return "as published"
    origin = f"published in {published}" if published else ""
    if precision == "bf16":
        return ", ".join(filter(None, (origin, "SiFT's ascent is lost in bf16's rounding")))
    return origin or ("SiFT's ascent would be lost in bf16" if asked == "auto" else "")


def _published(recipe: Recipe) -> str | None:
    """Return the precision of the packaged SiFT recipe of this model and task; None where there is none, or it names none."""
    path = default_recipe_path(recipe.task or "", recipe.model or "", sift=True)
    if not path.stem.endswith("-sift"):
        return None
    precision = load_recipe(path).runtime.precision
    return None if precision == "auto" else precision
