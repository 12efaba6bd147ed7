"""What is pushed to the hub: the model, its card and cleaned copies of what made it, in one commit. All else is left out."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from debft.errors import InputError, first_line
from debft.output.card.card import model_card
from debft.output.card.results import EVAL_RESULTS, eval_results_yaml
from debft.output.card.subject import Subject
from debft.runs.files import NOT_FINITE, STACKS
from debft.runs.storage import disk_errors
from debft.runtime.hub import endpoint, require_hub

NOT_OF_RUN = "no run wrote it"
LARGE = 32 * 2**20  # bytes of a file that is read in pieces
# What stays here, and why.
LEFT_OUT = {
    "report.html": "it shows texts of the data",
    "analysis.json": "it holds texts of the data; its table of classes is in README.md",
    "data": "it holds rows of the data",
    "predictions": "they name rows of the data",
    "split.json": "it names the data's place and rows",
    "steps.jsonl": "a log; the sums are in result.json",
    "evaluations.jsonl": "a log; the scores are in result.json",
    "checkpoints": "they are for --resume alone",
    "trackers": "the logs of trackers",
    NOT_FINITE: "it names rows of the data",
    STACKS: "the stacks of the run's processes, with paths of this machine",
    "onnx": "an export; `hf upload OWNER/NAME RUN/onnx onnx` adds it",
}


@dataclass(frozen=True, kw_only=True)
class PushedFile:
    """A file that is pushed: its name there, and its content, or the file here that has it.

    Exactly one of content and path is given.
    """

    name: str
    content: bytes | None = None
    path: Path | None = None
    cleaned: bool = False

    def described(self) -> dict[str, Any]:
        """Return name, bytes, sha256 and whether it differs from the file here."""
        if self.path is None:
            content = self.content or b""
            size, digest = len(content), hashlib.sha256(content).hexdigest()
        else:
            with disk_errors(self.path, "read"), self.path.open("rb") as file:
                size, digest = self.path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": self.name, "bytes": size, "sha256": digest, "cleaned": self.cleaned}


def pushed_files(subject: Subject, repository: str, license_name: str | None) -> list[PushedFile]:
    """Return every file that would be in the repository. Raises InputError where one names this machine and cannot be cleaned."""
    cleaner = subject.cleaner
    card = str(model_card(subject, license_name=license_name, repository=repository))
    recipe = yaml.safe_dump(subject.shown_recipe, sort_keys=False, allow_unicode=True)
    texts = {"README.md": card, EVAL_RESULTS: eval_results_yaml(subject), "recipe.yaml": recipe}
    files = [PushedFile(name=name, content=text.encode(), cleaned=name == "recipe.yaml") for name, text in texts.items() if text]
    files += [PushedFile(name="result.json", content=_result(subject), cleaned=True), *_model_files(subject)]
    for file in files:
        cleaner.check(file.name, file.content if file.content is not None else _head(file.path))
    return files


def left_out(subject: Subject) -> dict[str, str]:
    """Return what of the run's directory is not pushed, each with its reason."""
    run, pushed = subject.run, ("model", "recipe.yaml", "result.json", ".lock")
    found = sorted(path.name for path in run.path.iterdir() if path.name not in pushed)
    beside = sorted(path.name for path in run.model.iterdir() if path.name not in _model_names(subject))
    return {name: LEFT_OUT.get(name, NOT_OF_RUN) for name in found} | {f"model/{name}": NOT_OF_RUN for name in beside}


def push(repository: str, files: list[PushedFile], *, public: bool, message: str) -> str:
    """Push the files in one commit, and return its address. Raises InputError for a hub that is not there, no token, a refusal."""
    from huggingface_hub import errors, get_token

    require_hub(f"debft push --repo {repository}", "connect to it, or add --dry-run to see every file", "a push needs the hub")
    token = get_token()
    if token is None:
        raise InputError("debft push: expected a token of the hub, found none; log in with `hf auth login`, or set HF_TOKEN")
    try:
        return commit(repository, files, public=public, message=message, token=token)
    except errors.HfHubHTTPError as error:
        reason = first_line(error).replace(token, "(token)")
        raise InputError(f"debft push --repo {repository}: {endpoint()} refused it: {reason}") from None


def commit(repository: str, files: list[PushedFile], *, public: bool, message: str, token: str) -> str:
    """Create the repository where there is none, and commit the files at once; return the address of the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token)
    api.create_repo(repository, private=not public, exist_ok=True)
    if not public and not api.model_info(repository).private:
        raise InputError(
            f"debft push --repo {repository}: expected a private repository, it is public; give --public if that is meant"
        )
    operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=_source(file)) for file in files]
    return str(api.create_commit(repository, operations, commit_message=message).commit_url)


def check_repository(repository: str) -> None:
    """Raise InputError unless `repository` is OWNER/NAME as the hub takes it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"--repo {repository}: expected OWNER/NAME; {first_line(error)}") from None
    if repository.count("/") != 1:
        raise InputError(
            f"--repo {repository}: expected OWNER/NAME, got no owner; it is your name on the hub, or an organisation's"
        )


def _source(file: PushedFile) -> str | bytes:
    return str(file.path) if file.path is not None else file.content or b""


def _result(subject: Subject) -> bytes:
    return (subject.result.to_json() + "\n").encode()


def _model_files(subject: Subject) -> Iterator[PushedFile]:
    """Return the files that the run recorded; a config.json or tokenizer_config.json that names this machine is cleaned.

    A vocabulary is left as it is: its words are no names.
    """
    for name in _model_names(subject):
        path = subject.run.model / name
        if not path.resolve().is_relative_to(subject.run.model.resolve()):
            raise InputError(f"{path}: expected a file of the model, got a link to {path.resolve()}, which is not pushed")
        content = _cleaned(path, subject) if path.name in ("config.json", "tokenizer_config.json") else None
        yield PushedFile(name=name, path=path) if content is None else PushedFile(name=name, content=content, cleaned=True)


def _model_names(subject: Subject) -> list[str]:
    """Return the names of the model's files, of an older run that recorded none all that are there."""
    recorded = subject.result.model_files
    return list(recorded) if recorded is not None else sorted(path.name for path in subject.run.model.iterdir())


def _cleaned(path: Path, subject: Subject) -> bytes | None:
    """Return the cleaned content of a configuration; None where there is nothing to clean."""
    with disk_errors(path, "read"):
        content = json.loads(path.read_bytes())
    kept = ("id2label", "label2id")  # labels are the task's own names
    cleaned = {
        key: value if key in kept else subject.cleaner.value(value) for key, value in content.items() if key != "_name_or_path"
    }
    return None if cleaned == content else (json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n").encode()


def _head(path: Path | None) -> bytes:
    """Return a file, of a large one the beginning, where safetensors has its header."""
    if path is None:
        return b""
    with disk_errors(path, "read"), path.open("rb") as file:
        return file.read(LARGE)
