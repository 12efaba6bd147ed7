"""`debft doctor` tries what it reports, and ends with 2 where something is bad."""

import json
import sys

import pytest

from debft.cli import doctor, main
from debft.models.attention import backends
from debft.runtime import hub


@pytest.fixture
def examined(monkeypatch, capsys):
    """(exit code, state of each finding) of `debft doctor --model DIR --json` where no hub answers."""
    monkeypatch.setattr(hub, "reachable", lambda: False)

    def run(model):
        monkeypatch.setattr(sys, "argv", ["debft", "doctor", "--model", str(model), "--json"])
        with pytest.raises(SystemExit) as end:
            main.main()
        findings = json.loads(capsys.readouterr().out)["findings"]
        return end.value.code, {finding["what"]: finding["state"] for finding in findings}

    return run


def test_doctor_reports_versions_and_a_model(examined, demo_model):
    code, states = examined(demo_model)
    assert (code, states["transformers"], states["tokens"], states["hub"], states["weights"]) == (0, "ok", "ok", "note", "note")


def test_doctor_says_what_computes_the_attention_here_and_why_nothing_else(monkeypatch):
    reasons = {"eager": None, "torch": None, "triton": "no GPU"}
    monkeypatch.setattr(doctor, "device_type", lambda: "cpu")
    for module in (doctor, backends):
        monkeypatch.setattr(module, "why_not", lambda name, *_: reasons[name])
    assert [finding.found for finding in doctor._attention()] == ["--attention auto is torch; no triton (no GPU)"]


def test_doctor_lists_the_known_faults_of_the_kernels_by_name_where_they_are_there(monkeypatch):
    monkeypatch.setattr(backends, "why_not", lambda *_: None)
    monkeypatch.setattr(doctor, "why_not", lambda *_: None)
    first, *faults = doctor._attention()
    assert first.state == "ok"
    assert [(fault.what, fault.state) for fault in faults] == [
        (f"triton {name}", "note") for name in ("dropout", "memory", "size", "launch", "start")
    ]


def test_doctor_names_a_model_without_a_tokenizer(examined, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    code, states = examined(tmp_path)
    assert (code, states["model"]) == (2, "bad")


def test_doctor_finds_damaged_weights_and_a_vocabulary_that_does_not_fit(examined, tmp_path, demo_model):
    for file in demo_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    code, states = examined(tmp_path)
    assert (code, states["weights"], states["vocabulary"]) == (2, "bad", "bad")


@pytest.mark.parametrize(("installed", "state"), [("2.9.1", "bad"), ("2.10.0+cpu", "ok"), ("2.13.0", "ok"), ("3.0.0", "bad")])
def test_doctor_knows_the_versions_that_debft_works_with(monkeypatch, installed, state):
    monkeypatch.setattr(doctor, "version", lambda name: installed)
    assert doctor._package("torch").state == state


def test_address_that_no_hub_has_is_a_finding(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "not a url")
    found = doctor._hub()
    assert found.state == "bad" and "HF_ENDPOINT: expected an address" in found.found


def test_findings_are_printed_a_line_each_with_their_state(monkeypatch, capsys):
    findings = [doctor.Finding("torch", "ok", "2.13"), doctor.Finding("hub", "note", "[does] not answer")]
    monkeypatch.setattr(doctor, "examine", lambda model: findings)
    monkeypatch.setattr(sys, "argv", ["debft", "doctor"])
    with pytest.raises(SystemExit) as end:
        main.main()
    lines = capsys.readouterr().out.splitlines()
    assert (end.value.code, [line.split() for line in lines]) == (
        0,
        [["ok", "torch", "2.13"], ["note", "hub", "[does]", "not", "answer"]],
    )
