"""The hub: what is in the cache first, then the network, and a clear error in under three seconds; models in installed packages."""

import importlib.metadata
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from debft.errors import HubError, InputError

SECONDS_TO_WAIT = 2.0
SECONDS_BETWEEN_QUESTIONS = 60.0
_silent_until: dict[str, float] = {}  # by endpoint


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def reachable() -> bool:
    """Whether the hub answers within SECONDS_TO_WAIT, name resolution included; one that did not is not asked again at once.

    `datasets` and `transformers` retry for 23 s before they give up, hence a question of our own.
    """
    if time.monotonic() < _silent_until.get(endpoint(), 0.0):
        return False
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(endpoint(), method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=SECONDS_TO_WAIT).close()
            answered.set()
        except urllib.error.HTTPError:
            answered.set()  # it answered, if only to say no to a HEAD
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_WAIT)
    if not answered.is_set():
        _silent_until[endpoint()] = time.monotonic() + SECONDS_BETWEEN_QUESTIONS
    return answered.is_set()


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def require_hub(what: str, instead: str, why: str = "not in the cache") -> None:
    """Raises HubError where the hub is not to be reached; `why` it is needed, `instead`: what works without it."""
    if offline():
        raise HubError(f"{what}: {why}, and HF_HUB_OFFLINE is set; {instead}")
    if not reachable():
        raise HubError(f"{what}: {why}, and {endpoint()} did not answer in {SECONDS_TO_WAIT:.0f} s; {instead}")


def model_directory(hub_id: str, *, weights: bool, lacking: Callable[..., str | None]) -> Path:
    """A directory with the model's files, downloaded where the cache lacks them; named by its commit.

    Only safetensors or `weights_only` pickles are read, and no code: other files are not even downloaded. `lacking` tells, for
    a directory and `weights`, what is missing in it: a download that was broken off leaves no other mark.

    Raises InputError where the cache does not have it all and the hub cannot be reached.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    absent = None
    try:
        cached = Path(snapshot_download(hub_id, local_files_only=True))
        absent = lacking(cached, weights=weights)
        if absent is None:
            return cached
    except errors.LocalEntryNotFoundError:
        pass
    what = f"its download is not complete, it lacks {absent}" if absent else "not in the cache"
    require_hub(f"--model {hub_id}", "connect to it, or run `debft TASK --model DIR`, or `debft TASK --data demo`", what)
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_patterns(HfApi().list_repo_files(hub_id), weights)))
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(f"--model {hub_id}: no such model on {endpoint()}; see --help for the aliases") from None
    except errors.HfHubHTTPError as error:
        raise InputError(f"--model {hub_id}: {endpoint()} refused it: {str(error).splitlines()[0]}") from None


def _patterns(files: list[str], weights: bool) -> list[str]:
    """Of the files to download: configuration, tokenizer, and the weights in one form."""
    in_safetensors = any(fnmatch(name, "model*.safetensors") for name in files)  # an adapter's or another program's do not count
    kind = ["model*.safetensors*"] if in_safetensors else ["pytorch_model*"]
    return ["*.json", "*.model", "*.txt", *(kind if weights else [])]


def packaged_directory(package: str, weight_files: tuple[str, ...]) -> tuple[Path, str] | None:
    """The directory in an installed package that holds weights beside a config.json, and the package's version; None without one.

    The package's list of files is read; nothing of it is imported.
    """
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    weights = (Path(str(found.locate_file(file))) for file in found.files or () if file.name in weight_files)
    directory = next((path.parent for path in weights if path.is_file() and (path.parent / "config.json").is_file()), None)
    return (directory, found.version) if directory else None
