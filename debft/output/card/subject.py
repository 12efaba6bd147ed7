"""What a card is about and what is pushed: a complete run, read once, and what of it may leave the machine."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from debft.config.recipe import Recipe, to_dict
from debft.data.sources import demo
from debft.errors import InputError
from debft.models.names import MODELS
from debft.output.card.clean import LOCAL, Cleaner, cleaner_of, is_local
from debft.runs.analysis import Analysis
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.result_file import from_json
from debft.runs.seal import sealed
from debft.scoring.used_model import UsedModel, find_used_model
from debft.tasks import TEXT, Task


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run as others may see it.

    run: its directory
    used: its model, which is not loaded
    result: its result, cleaned
    recipe: its recipe as it was run, for the hash alone
    shown_recipe: the recipe as plain data, cleaned
    analysis: which classes its scores come from; None of an older run
    cleaner: what cleaned it
    """

    run: RunDirectory
    used: UsedModel
    result: RunResult
    recipe: Recipe
    shown_recipe: dict[str, Any]
    analysis: Analysis | None
    cleaner: Cleaner

    @property
    def task(self) -> Task:
        """The task, with the columns and labels of the run's data."""
        return self.used.task

    @property
    def is_demo(self) -> bool:
        """Whether rows or model are made up, so that no score means anything."""
        return self.result.data.source == "demo" or self.result.model == demo.MODEL_NAME

    @property
    def base_model(self) -> str | None:
        """The id on the hub of what was fine-tuned; None for a model of this machine, and for weights that began at random."""
        model = self.result.model
        if model in MODELS:
            model = MODELS[model].hub_id
        scratch = self.shown_recipe["train"].get("from_scratch")
        return None if scratch or LOCAL in model or is_local(model) or model == demo.MODEL_NAME else model

    @property
    def dataset(self) -> str | None:
        """The id on the hub of the rows; None for demo data and local files of own data."""
        if self.result.data.source == "demo":
            return None
        if self.task.name != TEXT.name:
            return self.task.dataset
        return str(self.shown_recipe["data"]) if self.result.data.source == "dataset" else None

    @property
    def name(self) -> str:
        """A name for the model, such as `deberta-v3-small-mnli`."""
        model = self.result.model
        return f"{'model' if LOCAL in model else model.rpartition('/')[2]}-{self.task.name}"

    def without_result(self) -> str | None:
        """Return why the scores stand in no index of results; None: they do."""
        if self.is_demo:
            return "the rows or the model are made up"
        if self.task.name == TEXT.name:
            return "the rows are no data set that others can name"
        if self.recipe.train.max_eval_samples is not None:
            return "not all rows of the split were scored"
        rows = {split.name: split.num_rows for split in self.task.evals}
        if any(rows.get(name) not in (None, count) for name, count in self.result.num_examples.items()):
            return "the rows are not those of the published data set"
        return None


def subject_of(named: str) -> Subject:
    """Read the run that the user named. Raises InputError where it is none, is not complete, or its model is another one."""
    used = find_used_model(named, None)
    if used.run is None:
        raise InputError(f"{named}: expected the directory of a run, got a model alone; a card is written of what a run recorded")
    result = used.run.result()
    if result is None:
        raise InputError(f"{named}: expected a complete run, found no result.json; finish it with --resume")
    cleaner = cleaner_of(used.run, result)
    recipe = used.run.recipe()
    return Subject(
        run=used.run,
        used=used,
        result=_cleaned(result, cleaner),
        recipe=recipe,
        shown_recipe=cleaner.value(to_dict(recipe)),
        analysis=used.run.analysis(),
        cleaner=cleaner,
    )


def _cleaned(result: RunResult, cleaner: Cleaner) -> RunResult:
    """Return a result without names of the machine, its command, the examples of warnings, which name files
    and lines, and the digests of files that are cleaned or not pushed."""
    cleaned = from_json(json.dumps(sealed(cleaner.value(asdict(result)))), "result.json")
    warnings = [replace(warning, examples=[]) for warning in cleaned.data.warnings]
    return replace(cleaned, command=None, run_files=None, data=replace(cleaned.data, warnings=warnings))
