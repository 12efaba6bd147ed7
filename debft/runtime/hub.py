"""Models from the hub: the cache first, then the network, and a clear error in under three seconds; or from installed packages."""

import http.client
import importlib.metadata
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from debft.errors import HubError, InputError, first_line, shown

SECONDS_TO_WAIT = 2.0
SECONDS_BETWEEN_QUESTIONS = 60.0
# The variables that say how it is reached, in capitals or not.
WAY = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
_silent_until: dict[str, float] = {}  # by endpoint, in seconds of the monotonic clock


def endpoint() -> str:
    """Return the address of the hub. Raises InputError where the variable that gives another one holds none."""
    address, parts = _address(), check_endpoint()
    if parts.scheme not in ("http", "https") or not parts.hostname or not address.isprintable() or " " in address:
        raise InputError(_no_address())
    return address.rstrip("/")


def check_endpoint() -> urllib.parse.SplitResult:
    """Return the parts of that address. Raises InputError where it has none: huggingface_hub could not even be imported then."""
    try:
        parts = urllib.parse.urlsplit(_address())
        _ = parts.port  # is read only here
    except ValueError:
        raise InputError(_no_address()) from None
    return parts


def _address() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def _no_address() -> str:
    return f"HF_ENDPOINT: expected an address that begins with https:// or http://, got {shown(_address())}; unset it"


def reachable() -> bool:
    """Whether the hub answers within SECONDS_TO_WAIT, name resolution included. A hub that did not is not asked again at once.

    `datasets` and `transformers` retry for 23 s before they give up, so debft asks first.
    Raises InputError where it answers, but not on the way that a variable names.
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
        except (OSError, ValueError, http.client.HTTPException):  # what answers may be no server of the web
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_WAIT)
    if not answered.is_set():
        _silent_until[endpoint()] = time.monotonic() + SECONDS_BETWEEN_QUESTIONS
        return False
    _check_way()
    return True


def _check_way() -> None:
    """Raise InputError where huggingface_hub cannot use the proxy or the certificates that variables name."""
    from huggingface_hub.utils import get_session

    try:
        get_session()
    except Exception as error:  # of the client that it is built upon: an address that is none is of no narrower kind
        given = [name for name in os.environ if name.upper() in WAY] or list(WAY)
        raise InputError(
            f"{', '.join(given)}: expected what huggingface_hub can use to reach the hub, got: {first_line(error)}; correct it, or "
            "unset it"
        ) from None


# What works where a model cannot be downloaded.
WITHOUT_IT = "connect to it, or give --model DIR; to try without: --data demo, or for your own rows --model demo --recipe demo"


def offline() -> bool:
    """Whether the user has forbidden to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def require_hub(what: str, instead: str, why: str = "not in the cache") -> None:
    """Raise HubError where the hub cannot be reached. `why` it is needed and what works `instead` go into the line."""
    if offline():
        raise HubError(f"{what}: {why}, and HF_HUB_OFFLINE is set; {instead}")
    if not reachable():
        raise HubError(f"{what}: {why}, and {endpoint()} did not answer in {SECONDS_TO_WAIT:.0f} s; {instead}")


def model_directory(
    hub_id: str, commit: str | None, *, weights: bool, lacking: Callable[..., str | None], check: Callable[[Path], None]
) -> Path:
    """Return the directory of the model's files, which is named by its commit. What the cache lacks is downloaded.

    Only safetensors or `weights_only` pickles are read, and no code: other files are not even downloaded.

    commit: of the repository; None: the newest.
    check: is called with what was downloaded, and raises InputError where it is not what it should be.
    lacking: returns, for a directory and `weights`, what is missing in it: a download that was broken off leaves no other mark.

    Raises InputError where the cache does not have it all and the hub cannot be reached.
    """
    check_endpoint()
    from huggingface_hub import HfApi, errors, snapshot_download

    absent = None
    try:
        cached = Path(snapshot_download(hub_id, revision=commit, local_files_only=True))
        absent = lacking(cached, weights=weights)
        if absent is None:
            return cached
    except errors.LocalEntryNotFoundError:
        pass
    except errors.HFValidationError:
        raise InputError(f"--model {hub_id}: expected an alias, a directory or a name on the hub, got none; see --help") from None
    what = f"its download is not complete, it lacks {absent}" if absent else "not in the cache"
    require_hub(f"--model {hub_id}", WITHOUT_IT, what)
    try:
        patterns = _patterns(HfApi().list_repo_files(hub_id, revision=commit), weights)
        downloaded = Path(snapshot_download(hub_id, revision=commit, allow_patterns=patterns))
    except errors.RepositoryNotFoundError:
        raise InputError(f"--model {hub_id}: no such model on {endpoint()}; see --help for the aliases") from None
    except errors.HfHubHTTPError as error:
        raise InputError(f"--model {hub_id}: {endpoint()} refused it: {first_line(error)}") from None
    check(downloaded)
    return downloaded


def _patterns(files: list[str], weights: bool) -> list[str]:
    """Return the patterns of the files to download: configuration, tokenizer, and the weights in one form."""
    in_safetensors = any(fnmatch(name, "model*.safetensors") for name in files)  # an adapter's or another program's do not count
    kind = ["model*.safetensors*"] if in_safetensors else ["pytorch_model*"]
    return ["*.json", "*.model", "*.txt", *(kind if weights else [])]


def packaged_directory(package: str, weight_files: tuple[str, ...]) -> tuple[Path, str] | None:
    """Return the directory in an installed package that holds weights beside a config.json, and the package's version.

    It is None where the package is not installed or has no such directory. Nothing of the package is imported.
    """
    try:
        installed = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    weights = (Path(str(installed.locate_file(file))) for file in installed.files or () if file.name in weight_files)
    directory = next((path.parent for path in weights if path.is_file() and (path.parent / "config.json").is_file()), None)
    return (directory, installed.version) if directory else None
