"""Runs that are none: a script in the place of `python -m debft`, for the tests of what starts runs."""

import json
import subprocess
from types import SimpleNamespace

from processes import Command

from debft.reproduce import process
from debft.runtime.launch import started
from debft.runtime.launch.group import PARENT
from debft.runtime.launch.lifeline import LIFELINE

# Stands in for `python -m debft`: logs three steps into --output and leaves like a run, or fails as the test says. With MEET, a
# directory, runs of seeds 1 and 2, 3 and 4, ... wait for each other: what does not run at the same time fails.
FAKE = """
import json, os, signal, sys, time
started = time.time()
from pathlib import Path
from debft.runs.environment import code_digest, moving_versions
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe, parse_set
from debft.config.recipe import to_dict
from debft.runs.directory import RunDirectory
arguments = sys.argv[1:]
def given(name):
    return arguments[arguments.index(name) + 1] if name in arguments else None
out = Path(arguments[arguments.index("--output") + 1])
seed = int(arguments[arguments.index("--seed") + 1])
assert "--resume" in arguments
def leave(number, _):
    (out / "checkpoint").write_text("saved")
    os._exit(128 + number)  # at any moment, also where Python ends already
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, leave)
if seed == int(os.environ.get("FAILS", -1)):
    print("out of luck", file=sys.stderr); sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
recipe = load_recipe(recipe_path(given("--recipe")), {
    **({"init_from": given("--init-from")} if given("--init-from") else {}), **({"data": given("--data")} if given("--data") else {}),
    **parse_set([f"train.{name}={value}" for name in ("seed", "max_steps", "max_train_samples", "max_eval_samples")
                 if (value := given("--" + name.replace("_", "-")))]
                + [arguments[i + 1] for i, word in enumerate(arguments) if word == "--set"])})
RunDirectory(out).create(recipe)
if "MEET" in os.environ:
    here = Path(os.environ["MEET"])
    (here / str(seed)).touch()
    deadline = time.monotonic() + 300
    while not (here / str(seed + 1 if seed % 2 else seed - 1)).exists():
        assert time.monotonic() < deadline, "alone"
        time.sleep(0.02)
with (out / "steps.jsonl").open("a") as log:
    for step in range(1, 4):
        log.write(json.dumps({"step": step, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 9}) + "\\n"); log.flush()
        time.sleep(float(os.environ.get("PAUSE", 0)))
fields = dict(format_version=1, task="mnli", model="demo", status="complete", published=[], not_compared=None, num_examples={},
    num_train_examples=96, num_tokens=27, steps=3, peak_memory_bytes=1, recipe=to_dict(recipe),
    data={"source": "demo", "fingerprints": json.loads(os.environ["FINGERPRINTS"])}, environment={**moving_versions(), "code": code_digest(), "threads": os.environ.get("OMP_NUM_THREADS"),
    "device": os.environ.get("CUDA_VISIBLE_DEVICES"), "time": [started, time.time()]}, timing={"train_seconds": 1.0, "eval_seconds": 1.0,
    "examples_per_second": 1.0, "tokens_per_second": 1.0}, scores={"validation_matched/accuracy": 90.0 + seed, "validation_mismatched/accuracy": 70.0} | (
    {"validation/accuracy": json.loads(os.environ["SCORES"])[seed - 1]} if "SCORES" in os.environ else {}))
(out / ".result").write_text(json.dumps(fields))
(out / ".result").replace(out / "result.json")  # as a run does: whole or not at all
"""


def start_forked(monkeypatch, code):
    """Runs are forked from a process that has imported what they need, and do `code`, or what is put in its place later."""
    what = [code]

    def popen(command, *, stderr, env, **_):
        del env[PARENT], env[LIFELINE]  # it is the process forked from that started them
        return Command(*command[len(process.DEBFT) :], code=what[0], stderr=stderr, **env)

    monkeypatch.setattr(started, "subprocess", SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL))
    return what


def start_fake(monkeypatch, fingerprints, fails=-1):
    """FAKE in the place of debft, with these rows."""
    monkeypatch.setenv("FINGERPRINTS", json.dumps(fingerprints))
    monkeypatch.setenv("FAILS", str(fails))
    return start_forked(monkeypatch, FAKE)
