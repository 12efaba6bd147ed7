"""The hub: what is in the cache first, then the network, and a clear error in under three seconds; models in installed packages."""

import importlib.metadata
import os
import threading
import time
import urllib.error
import urllib.request
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


def require_hub(what: str, instead: str) -> None:
    """Raises HubError where the hub is not to be reached; `instead` says what works without it."""
    if offline():
        raise HubError(f"{what}: not in the cache, and HF_HUB_OFFLINE is set; {instead}")
    if not reachable():
        raise HubError(f"{what}: not in the cache, and {endpoint()} did not answer in {SECONDS_TO_WAIT:.0f} s; {instead}")


def model_directory(hub_id: str, *, weights: bool, weight_files: tuple[str, ...]) -> Path:
    """A directory with the model's files, downloaded where the cache lacks them; named by its commit.

    Only safetensors or `weights_only` pickles are read, and no code: other files are not even downloaded.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        cached = Path(snapshot_download(hub_id, local_files_only=True))
        if (cached / "config.json").is_file() and (not weights or any((cached / name).is_file() for name in weight_files)):
            return cached
    except errors.LocalEntryNotFoundError:
        pass
    require_hub(f"--model {hub_id}", "connect to it, or run `debft TASK --model DIR`, or `debft TASK --data demo`")
    try:
        files = HfApi().list_repo_files(hub_id)
        kind = ["model*.safetensors*"] if any(name.endswith(".safetensors") for name in files) else ["pytorch_model*"]
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.model", "*.txt", *(kind if weights else [])]))
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(f"--model {hub_id}: no such model on {endpoint()}; see --help for the aliases") from None
    except errors.HfHubHTTPError as error:
        raise InputError(f"--model {hub_id}: {endpoint()} refused it: {str(error).splitlines()[0]}") from None


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
