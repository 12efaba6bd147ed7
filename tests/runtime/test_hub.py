"""The hub's code on local directories, and its absence: asked once, for two seconds."""

import http.server
import os
import socket
import threading
from dataclasses import replace

import datasets
import huggingface_hub
import pytest

from debft.data.rows import check_rows
from debft.data.sources import hub as hub_datasets
from debft.errors import InputError
from debft.models.files import find_model
from debft.runtime import hub


@pytest.fixture
def local_glue(tmp_path):
    """A directory laid out as the hub's repository: a README with configurations, a folder of Parquet files each."""
    root = tmp_path / "glue"
    (root / "mnli").mkdir(parents=True)
    splits = ("train", "validation_matched", "validation_mismatched")
    for i, split in enumerate(splits):
        rows = {"premise": ["None", '"a'], "hypothesis": ["x", f"y{i}"], "label": [0, 2], "idx": [0, 1]}
        features = datasets.Features(
            {
                "premise": datasets.Value("string"),
                "hypothesis": datasets.Value("string"),
                "label": datasets.ClassLabel(names=["entailment", "neutral", "contradiction"]),
                "idx": datasets.Value("int32"),
            }
        )
        datasets.Dataset.from_dict(rows, features=features).to_parquet(root / "mnli" / f"{split}-00000-of-00001.parquet")
    files = "".join(f"  - split: {split}\n    path: mnli/{split}-*\n" for split in splits)
    (root / "README.md").write_text(f"---\nconfigs:\n- config_name: mnli\n  data_files:\n{files}---\n")
    return root


def test_hub_schema_becomes_rows(local_glue, mnli):
    task = replace(mnli, dataset=str(local_glue))
    examples = check_rows(hub_datasets.table(task, task.evals[1]), task)
    assert examples.texts == [("None", "x"), ('"a', "y2")]
    assert examples.labels.tolist() == [0, 2]


def test_unreachable_hub_is_asked_once_for_two_seconds_and_is_a_clear_error(mnli, monkeypatch):
    """Once for both: what did not answer for the data is not asked again at once for the model."""
    asked = []

    def refuse(request, timeout):
        asked.append(timeout)
        raise OSError(101, "unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(hub, "_silent_until", {})
    with pytest.raises(InputError, match=r"did not answer in 2 s; use --data DIR .* or --data demo"):
        hub_datasets.table(mnli, mnli.train)
    with pytest.raises(InputError, match=r"--model microsoft/deberta-v3-small: not in the cache"):
        find_model("deberta-v3-small", from_scratch=False)
    assert asked == [2.0]


def test_hub_that_accepts_but_never_answers_is_given_up(monkeypatch):
    """A question without a limit would wait here for good."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(hub, "SECONDS_TO_WAIT", 0.2)
        assert not hub.reachable()


def test_hub_that_refuses_a_head_request_is_reachable_but_not_through_a_proxy_that_is_none(monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # answers 501
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(hub, "SECONDS_TO_WAIT", 600.0)  # a busy machine answers late
    huggingface_hub.close_session()
    for proxy, said in [("nonsense://x", "nonsense://x"), ("http://me:my-password@host:abc", "Invalid port: 'abc'")]:
        with monkeypatch.context() as patch:
            patch.setenv("HTTPS_PROXY", proxy)
            for name in {"NO_PROXY", "ALL_PROXY", "HTTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ):
                patch.delenv(name)
            with pytest.raises(
                InputError, match=rf"HTTPS_PROXY.*: expected what huggingface_hub can use .*{said}.*, or unset it"
            ) as refused:
                hub.reachable()
            assert "my-password" not in str(refused.value.problems)
    assert hub.reachable()
    server.shutdown()
    server.server_close()


NO_ADDRESSES = ["not a url", "", "é", "http://", "http://[", "http://a b", "http://x:y@z:q", "http://a:99999", "file:///etc/passwd"]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_address_that_no_hub_has_is_refused(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(InputError, match="HF_ENDPOINT: expected an address that begins with https:// or http://, got '"):
        hub.reachable()


@pytest.mark.parametrize("address", ["http://[", "http://x:y@z:q"])
def test_address_that_cannot_be_taken_apart_is_refused_before_a_library_does(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(InputError, match="HF_ENDPOINT: expected an address"):
        find_model("someone/model", from_scratch=False)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080/", "https://[::1]:443", "https://user:word@hub.example/mirror"])
def test_address_of_another_hub_is_taken(monkeypatch, address):
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert hub.endpoint() == address.rstrip("/")


def test_what_answers_in_another_language_is_not_the_hub(monkeypatch):
    """The error of a thread that asks would else end on the terminal, as a traceback."""
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr(hub, "SECONDS_TO_WAIT", 600.0)  # the answer comes at once
        threading.Thread(target=lambda: listener.accept()[0].send(b"SSH-2.0-OpenSSH\r\n\r\n"), daemon=True).start()
        assert not hub.reachable() and not failed


def test_offline_mode_is_said(monkeypatch, mnli):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        hub_datasets.table(mnli, mnli.train)


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """The cache's directory of someone/model, which has nothing yet."""
    cached = tmp_path / "hub" / "models--someone--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    (cached / "snapshots" / ("a" * 40)).mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return cached / "snapshots" / ("a" * 40)


def fill(directory, source, *names):
    for name in names:
        (directory / name).write_bytes((source / name).read_bytes())


@pytest.mark.parametrize(
    ("there", "from_scratch", "absent"),
    [
        (["config.json"], True, r"a tokenizer \(spm\.model, tokenizer\.json\)"),
        (["spm.model"], True, r"a config\.json"),
        (["config.json", "spm.model"], False, r"weights \(model\.safetensors or pytorch_model\.bin\)"),
    ],
)
def test_half_a_download_without_the_hub_names_the_model(snapshot, demo_model, there, from_scratch, absent):
    fill(snapshot, demo_model, *there)
    with pytest.raises(InputError, match=rf"^--model someone/model: its download is not complete, it lacks {absent}, and HF_HUB_"):
        find_model("someone/model", from_scratch)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "someone/a model", "someone/--model"])
def test_name_that_no_model_can_have_is_refused_without_asking_the_hub(snapshot, name):
    with pytest.raises(InputError, match="expected an alias, a directory or a name on the hub, got none; see --help") as error:
        find_model(name, from_scratch=False)
    assert error.value.problems[0].startswith(f"--model {name}: ")


def test_whole_download_is_used_without_the_hub(snapshot, demo_model):
    fill(snapshot, demo_model, "config.json", "spm.model")
    assert find_model("someone/model", from_scratch=True).path == snapshot


def test_half_a_download_is_completed(snapshot, demo_model, monkeypatch):
    fill(snapshot, demo_model, "config.json")
    plain = huggingface_hub.snapshot_download

    def download(hub_id, *, revision, local_files_only=False, allow_patterns=None):
        if not local_files_only:
            assert {"*.json", "*.model", "*.txt"} == set(allow_patterns)
            fill(snapshot, demo_model, "spm.model")
        return plain(hub_id, local_files_only=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, hub_id, revision: ["config.json", "spm.model"])
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "reachable", lambda: True)
    assert (find_model("someone/model", from_scratch=True).path / "spm.model").is_file()


def test_weights_are_asked_for_in_the_form_that_is_there():
    """An adapter's file, or one for another program, is no form of the model's weights."""
    assert "pytorch_model*" in hub._patterns(["adapter_model.safetensors", "onnx/model.safetensors", "pytorch_model.bin"], True)
    assert "model*.safetensors*" in hub._patterns(["model-00001-of-00002.safetensors", "pytorch_model.bin"], True)


@pytest.mark.hub
def test_published_row_counts_are_on_the_hub(mnli):
    for split in mnli.splits:
        assert len(hub_datasets.table(mnli, split)) == split.num_rows
