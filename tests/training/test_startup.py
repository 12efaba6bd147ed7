"""What a run does before its first step is done once, and what only that needs is let go; no test here looks at a clock."""

import gc
import hashlib
from types import SimpleNamespace

import pytest
from test_finetune import tiny_recipe

from debft.data import encoding, examples
from debft.training import run, train


@pytest.fixture
def started(tiny_data, tmp_path, monkeypatch):
    """A function that does a run of one step, and returns what its session is and what was done until then."""
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    encode, sha256, train_session = encoding._encode, hashlib.sha256, train.train
    seen = SimpleNamespace(encoded=[], hashed=0, plan=None)

    def counted(content):
        seen.hashed += 1
        return sha256(content)

    monkeypatch.setattr(examples, "hashlib", SimpleNamespace(sha256=counted))
    monkeypatch.setattr(encoding, "_encode", lambda *given: seen.encoded.append(len(given[0])) or encode(*given))

    def noted(session, *others):
        seen.plan, seen.collects = session.plan, gc.isenabled()
        return train_session(session, *others)

    monkeypatch.setattr(train, "train", noted)

    def start(name: str) -> SimpleNamespace:
        seen.encoded, seen.hashed = [], 0
        seen.result = run.finetune(tiny_recipe(tiny_data, **{"train.max_steps": 1}), tmp_path / name)
        return seen

    return start


def test_training_rows_have_let_go_of_their_texts_when_training_begins(started):
    seen = started("run")
    plan = seen.plan
    assert len(plan.train.texts) == 0 and len(plan.train) == seen.result.num_train_examples == 100
    assert all(plan.examples[split.name].texts for split in plan.task.evals)
    assert seen.result.data.fingerprints == plan.fingerprints


def test_second_start_encodes_nothing_and_hashes_the_rows_once(started):
    first = started("one")
    assert (first.encoded, first.hashed) == ([100, 20, 20], 3)
    fingerprints = first.plan.fingerprints
    second = started("two")
    assert (second.encoded, second.hashed) == ([], 3)
    assert second.plan.fingerprints == fingerprints


def test_python_looks_for_circles_again_when_training_begins_and_at_everything_afterwards(started):
    assert started("run").collects
    assert gc.isenabled() and not gc.get_freeze_count()
