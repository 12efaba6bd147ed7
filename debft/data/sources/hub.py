"""The rows of a split are loaded from the hub through `datasets`, at the task's pinned revision."""

import os
from functools import cache
from typing import TYPE_CHECKING

from debft.console import say
from debft.data.sources.table import DataTable
from debft.errors import InputError
from debft.runtime import hub
from debft.tasks import Split, Task

if TYPE_CHECKING:
    from datasets import DatasetDict

INSTEAD = "use --data DIR with the files of the task, or --data demo"


def table(task: Task, split: Split) -> DataTable:
    """Read the rows of a split. Raises InputError in under three seconds where neither the cache nor the hub has them."""
    loaded = _load(task.dataset, split.config, task.revision)
    if split.hub_split not in loaded:
        raise InputError(f"--data hub: expected the split {split.hub_split} in {task.dataset}, got {', '.join(loaded)}")
    rows = loaded[split.hub_split]
    return DataTable(
        columns={name: list(rows[name]) for name in rows.column_names},
        path=f"{task.dataset}@{task.revision[:8]}/{split.config}/{split.hub_split}",
        lines=range(1, len(rows) + 1),
    )


@cache
def _load(dataset: str, config: str, revision: str) -> "DatasetDict":
    """Load all splits of a configuration, from the cache where the hub cannot be reached."""
    if not os.path.isdir(dataset):
        ask_hub(f"--data hub: {dataset}", f"{dataset} at {revision[:8]}", INSTEAD, cached=_cached(dataset, config, revision))
    import datasets

    try:
        if os.path.isdir(dataset):
            return datasets.load_dataset(dataset, config)
        return datasets.load_dataset(dataset, config, revision=revision)
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, ValueError) as error:
        raise InputError(
            f"--data hub: {dataset} {config} at {revision[:8]} cannot be loaded: {str(error).splitlines()[0]}"
        ) from None


def ask_hub(where: str, what: str, instead: str, *, cached: bool, why: str = "not in the cache") -> None:
    """Find out in two seconds whether the hub answers. Where it does not, `datasets`, which would retry for 23, uses its cache.

    Raises InputError, with what works `instead`, where the rows are not in the cache either.
    """
    if not cached:
        hub.require_hub(where, instead, why)
    elif not hub.offline() and not hub.reachable():
        say(f"{hub.endpoint()} does not answer: {what} comes from the cache")
        os.environ["HF_HUB_OFFLINE"] = "1"


def cache_of(dataset: str) -> str:
    """Return the folder in which `datasets` keeps what it has prepared of a data set, and which it reads without a network."""
    home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    return os.path.join(os.environ.get("HF_DATASETS_CACHE", os.path.join(home, "datasets")), dataset.replace("/", "___"))


def _cached(dataset: str, config: str, revision: str) -> bool:
    """Tell whether `datasets` has this revision prepared."""
    return os.path.isdir(os.path.join(cache_of(dataset), config, "0.0.0", revision))
