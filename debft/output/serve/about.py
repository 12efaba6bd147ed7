"""GET /info: what the model of a server is, and how good it is. No path of this machine is in it."""

from pathlib import Path
from typing import Any

from debft import __version__
from debft.config.recipe_hash import recipe_hash
from debft.models.names import canonical_name, short_name
from debft.runs.result import in_percent
from debft.runtime.devices import device_name
from debft.scoring.predictor import Predictor
from debft.scoring.used_model import UsedModel
from debft.scoring.zero_shot import infers
from debft.tasks import TextClassification
from debft.tasks.titles import score_title, task_title


def about(used: UsedModel, predictor: Predictor) -> dict[str, Any]:
    """Return what is known of a model: its task with columns and labels, recipe, scores with their intervals, and what computes."""
    task, recipe = used.task, used.trained_on.recipe if used.trained_on is not None else None
    return {
        "task": task.name,
        "title": task_title(task.name),
        "texts": list(task.text_keys),
        "gives": task.gives,
        "labels": list(task.labels) if isinstance(task, TextClassification) else [],
        "takes_labels": infers(task),
        "model": name_without_path(recipe.model or "" if recipe is not None else used.named),
        "recipe": recipe_hash(recipe) if recipe is not None else None,
        "max_seq_length": used.recipe.text.max_seq_length,
        "scores": _scores(used),
        "device": device_name(predictor.accelerator.device),
        "precision": predictor.precision,
        "attention": predictor.loaded.attention,
        "debft": __version__,
    }


def _scores(used: UsedModel) -> list[dict[str, Any]]:
    """Return the scores of the run, each with its interval and its rows; [] for a model that is no run."""
    result = used.run.result() if used.run is not None else None
    if result is None:
        return []
    return [
        {
            "name": name,
            "title": score_title(used.task.name, name),
            "score": score,
            "interval": result.intervals.get(name),
            "rows": result.num_examples.get(name.partition("/")[0]),
        }
        for name, score in result.scores.items()
        if in_percent(name)
    ]


def name_without_path(model: str) -> str:
    """Return the name of a model: an alias or a hub id as it is, of a directory the last part."""
    if Path(model).exists() or model.count("/") > 1 or model.startswith((".", "/", "~")):
        return short_name(model) if Path(model).is_dir() else Path(model).name
    return canonical_name(model)
