"""The command line: every bad input is one line and exit code 2, JSON is alone on stdout."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
import terminal
import typer
from conftest import run, write_mnli

from debft.cli import main as cli
from debft.config.packaged import recipe_names
from debft.runtime.signals import SIGNALS


def run_anew(*arguments, **environment):
    """In a Python that starts with it, as a shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "debft", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"COLUMNS": "100"} | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Directories that the bad inputs below refer to by name."""
    root = tmp_path_factory.mktemp("places")
    write_mnli(root / "good")
    tables = {
        "column": "premise\tlabel\na\tneutral\n",
        "label": "premise\thypothesis\tlabel\na\tb\tmaybe\n",
        "empty label": "premise\thypothesis\tlabel\na\tb\tneutral\na\tb\t\n",
        "hidden": "premise\thypothesis\tlabel\na\tb\t-1\n",
        "empty": "",
    }
    for name, content in tables.items():
        write_mnli(root / name)
        (root / name / "mnli" / "train.tsv").write_text(content)
    for name, file, content in (
        ("jsonl", "train.jsonl", b'{"premise": "a", "hypo'),
        ("utf8", "train.tsv", b"premise\thypothesis\tlabel\n\xff\tb\t0\n"),
    ):
        write_mnli(root / name)
        (root / name / "mnli" / "train.tsv").unlink()
        (root / name / "mnli" / file).write_bytes(content)
    (root / "recipe.yaml").write_text("task: mnli\ntrain:\n  warm_up_steps: 10\n")
    (root / "other.yaml").write_text("task: cola\nmodel: demo\n")
    (root / "no-tokenizer").mkdir()
    (root / "no-tokenizer" / "config.json").write_text('{"model_type": "deberta-v2"}')
    (root / "other-run").mkdir()
    (root / "other-run" / "recipe.yaml").write_text("task: mnli\nmodel: other\n")
    return root


BAD = {
    "missing column": (["--data", "column"], "train.tsv: expected the columns premise, hypothesis, label, got premise, label"),
    "unknown label": (["--data", "label"], "train.tsv:2: label: expected entailment, neutral, contradiction, got 'maybe'"),
    "hidden label": (["--data", "hidden"], "train.tsv:2: label: expected"),
    "empty file": (["--data", "empty"], "train.tsv: expected a header line, got an empty file"),
    "truncated jsonl": (["--data", "jsonl"], "train.jsonl:1: expected one JSON object per line"),
    "invalid utf-8": (["--data", "utf8"], "train.tsv:2: expected UTF-8 text, got byte 0xff"),
    "no such directory": (["--data", "nowhere"], "found no such directory"),
    "misspelt recipe key": (["--recipe", "recipe.yaml"], "train: unknown key 'warm_up_steps'; did you mean 'warmup_steps'?"),
    "recipe of another task": (["--recipe", "other.yaml"], "expected a recipe of mnli, got one of cola"),
    "no tokenizer": (["--data", "good", "--model", "no-tokenizer", "--from-scratch"], "expected a tokenizer"),
    "warm-up longer than the run": (["--data", "good", "--warmup-steps", "1000"], "--warmup-steps: expected less than the"),
    "another run there": (["--model", "other", "--seed", "7", "--output", "other-run", "--resume"], "--seed: the run in "),
    "fp16 without a GPU": (["--data", "good", "--precision", "fp16"], "--precision fp16: expected a CUDA GPU"),
    "unknown precision": (
        ["--data", "good", "--precision", "fp8"],
        "--precision: expected one of auto, fp32, bf16, fp16, got 'fp8'",
    ),
    "unknown attention": (
        ["--data", "good", "--attention", "flash"],
        "--attention: expected one of auto, eager, torch, triton, got 'flash'",
    ),
    "triton without a GPU": (["--data", "good", "--attention", "triton"], "--attention triton: expected a backend that works here"),
    "negative rate": (["--data", "good", "--learning-rate", "-1"], "--learning-rate: expected a number above 0, got -1.0"),
    "no step": (["--data", "good", "--max-steps", "0"], "--max-steps: expected a whole number of at least 1, got 0"),
    "unknown model": (["--data", "good", "--model", "deberta-v3-xsmal"], "did you mean 'deberta-v3-xsmall'?"),
    "bad --set": (["--data", "good", "--set", "seed=1"], "--set seed=1: expected SECTION.KEY=VALUE"),
    "unknown option": (["--learning-rte", "1"], "no such option: --learning-rte"),
    "removed flag of the cards": (["--evaluation_strategy", "steps"], "--evaluation_strategy: debft's is --eval-steps"),
    "not a finite number": (["--data", "good", "--learning-rate", "nan"], "--learning-rate: expected a number, got nan"),
    "infinite epochs": (["--data", "good", "--num-train-epochs", "inf"], "--num-train-epochs: expected a number, got inf"),
    "empty model": (["--data", "good", "--model", ""], "--model: expected a name or path, got ''"),
    "no such metric": (["--data", "good", "--metric", "f1"], "--metric: unknown metric 'f1'; expected one of accuracy"),
    "no such metric set": (["--data", "good", "--set", "train.metric=f1"], "--set train.metric: unknown metric 'f1'"),
    "a row without a remedy": (["--data", "empty label"], "mend it, or --skip-bad-rows leaves such rows out"),
    "given twice": (["--data", "good", "--seed", "1", "--set", "train.seed=2"], "--set train.seed: is given as an option as well"),
    "set twice": (["--data", "good", "--set", "train.seed=2", "--set", "train.seed=3"], "train.seed is set twice; give it once"),
    "output is a file": (["--data", "good", "--output", "recipe.yaml"], "expected a directory that can be written, got"),
    "output below a file": (["--data", "good", "--output", "recipe.yaml/x"], "expected a directory that can be written, got"),
    "data is a file": (["--data", "recipe.yaml"], "expected 'hub', 'demo' or a directory, found a file"),
    "not a number": (["--seed", "x"], "mnli: --seed: expected a whole number, got 'x'"),
    "no seed": (["--seeds", "0"], "mnli: --seeds: expected a number of at least 1, got '0'"),
    "rows without their option": (["rows.csv"], "expected options, got rows.csv; rows are given with --data rows.csv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(places, name, monkeypatch, capsys):
    """In this process: what a process of its own ends with is held by the other tests of this file."""
    arguments, message = BAD[name]
    arguments = [str(places / a) if a and (places / a.split("/")[0]).exists() else a for a in arguments]
    if "--output" not in arguments:
        arguments += ["--output", str(places / "out")]
    model = ["--model", "demo", "--from-scratch"] if "--model" not in arguments and "--recipe" not in arguments else []
    monkeypatch.setattr(sys, "argv", ["debft", "mnli", *model, *arguments])
    monkeypatch.setattr(cli, "SIGNALS", ())
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert end.value.code == 2, err
    said = err.splitlines()
    assert len(said) == 1, err
    assert message in said[0]
    assert out == ""
    assert not (places / "out").exists()


def test_model_directory_without_weights_is_an_error_not_a_random_model(places, demo_model):
    done = run("mnli", "--data", places / "good", "--model", demo_model, "--output", places / "out")
    assert done.returncode == 2
    assert "--from-scratch for random ones" in done.stderr


@pytest.fixture
def closing_hub():
    """(address, the connections so far) of a hub that closes each connection without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def close_each():
            while True:
                try:
                    connection, address = listener.accept()
                except OSError:
                    return  # the test is over
                asked.append(address)
                connection.close()

        threading.Thread(target=close_each, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("arguments", "what", "instead"),
    [
        ([], "--data hub: nyu-mll/glue", "use --data DIR"),
        (["--model", "deberta-v3-small", "--data", "demo"], "--model microsoft/deberta-v3-small", "--model DIR"),
    ],
    ids=["data", "model"],
)
def test_unreachable_hub_is_asked_once_and_the_line_says_what_works_without_it(tmp_path, closing_hub, arguments, what, instead):
    """Once: the libraries for data and models would ask again and again for 23 s."""
    address, asked = closing_hub
    done = run_anew("mnli", *arguments, "--output", tmp_path / "out", HF_ENDPOINT=address)  # libraries read it when imported
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"{what}: not in the cache, and {address} did not answer in 2 s; ")
    assert instead in said and "--data demo" in said
    assert len(asked) == 1


def test_json_is_alone_on_stdout(places, tmp_path):
    arguments = ("--recipe", "demo", "--data", places / "good", "--max-steps", 2, "--output", tmp_path / "run", "--json")
    done = run("mnli", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "run" / "result.json").read_text())
    assert "not compared: random weights" in done.stderr


def test_skipped_rows_are_said_on_stderr_and_counted_in_json(places, tmp_path):
    write_mnli(tmp_path / "data")
    with (tmp_path / "data" / "mnli" / "train.tsv").open("a") as train:
        train.write("a\tb\tmaybe\n")
    arguments = ("mnli", "--recipe", "demo", "--data", tmp_path / "data", "--output", tmp_path / "run", "--dry-run", "--json")
    done = run(*arguments, "--skip-bad-rows")
    assert done.returncode == 0, done.stderr
    reason = "label: expected entailment, neutral, contradiction, got 'maybe'"
    assert f"train: 1 of 101 rows skipped: line 102 ({reason})" in done.stderr.splitlines()
    assert json.loads(done.stdout)["skipped_rows"] == {"train": 1, "validation_matched": 0, "validation_mismatched": 0}
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize(("arguments", "runs"), [((), 1), (("--seeds", "3"), 3)])
def test_dry_run_without_the_hub_estimates_from_packaged_sizes(tmp_path, arguments, runs):
    done = run("mnli", "--output", tmp_path / "run", "--dry-run", "--json", *arguments, HF_HUB_OFFLINE="1")
    assert done.returncode == 0 and not (tmp_path / "run").exists()
    content = json.loads(done.stdout)
    assert content["problem"].startswith("--data hub: nyu-mll/glue: not in the cache")
    assert (content["estimate"]["steps"], content["estimate"]["missing"]) == (18408, runs)  # 3 epochs of ceil(392,702 / 64)
    assert "estimates: nothing was probed, and the hub is out of reach" in done.stderr


def test_dry_run_without_the_hub_of_a_model_of_unknown_size_is_its_error(tmp_path):
    done = run("mnli", "--model", "google-bert/bert-tiny", "--dry-run", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (2, "") and "HF_HUB_OFFLINE is set" in done.stderr


def test_dry_run_shows_the_plan_and_writes_nothing(places, tmp_path):
    done = run("mnli", "--recipe", "demo", "--data", places / "good", "--output", tmp_path / "run", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["num_examples"] == {"train": 100, "validation_matched": 20, "validation_mismatched": 20}
    assert plan["steps"] == 4 * 14
    assert plan["estimate"]["train_seconds"] > 0 and plan["estimate"]["lengths"]["train"]["cut"] == 0
    assert (plan["compared_with"], bool(plan["not_compared"])) == ([], True)
    (remark,) = plan["remarks"]
    assert remark.startswith("labels   entailment ") and remark.replace("labels   ", "labels     ") in done.stderr.splitlines()
    assert "nothing was trained" in run("mnli", "--recipe", "demo", "--output", tmp_path / "run", "--dry-run").stdout
    assert not (tmp_path / "run").exists()


def test_resume_of_a_complete_run_repeats_its_result(places, tmp_path):
    arguments = ("mnli", "--recipe", "demo", "--data", places / "good", "--max-steps", 1, "--output", tmp_path / "run", "--json")
    first = run(*arguments)
    again = run(*arguments, "--resume")
    assert (again.returncode, again.stdout) == (0, first.stdout)


def test_recipes_are_listed_and_shown():
    listed = json.loads(run("recipes", "--json").stdout)["recipes"]
    assert [row["name"] for row in listed] == recipe_names()
    shown = run("recipes", "mnli/deberta-v3-small-repo")
    assert "linear_unshifted" in shown.stdout
    assert "experiments/glue/mnli.sh" in shown.stdout
    assert json.loads(run("recipes", "mnli/deberta-v3-small-repo", "--json").stdout)["train"]["warmup_steps"] == 1500


def test_check_names_every_problem(tmp_path):
    assert run("check", "mnli/deberta-v3-base").returncode == 0
    (tmp_path / "bad.yaml").write_text("task: mnli\ntrain:\n  warm_up_steps: 10\n  learning_rate: fast\n")
    bad = run("check", tmp_path / "bad.yaml")
    assert bad.returncode == 2
    assert bad.stderr.splitlines() == [
        f"{tmp_path}/bad.yaml: train: unknown key 'warm_up_steps'; did you mean 'warmup_steps'?",
        f"{tmp_path}/bad.yaml: train.learning_rate: expected a number, got 'fast'",
    ]


def test_check_names_a_wrong_task_and_model_and_misplaced_keys_with_the_others(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "task: nli\nmodel: deberta-v3-smal\nlearning_rate: 1e-4\ntrain:\n  dialect: repo\n  wieght: 1\n"
    )
    bad = run("check", tmp_path / "bad.yaml")
    assert bad.returncode == 2
    assert bad.stderr.splitlines() == [
        f"{tmp_path}/bad.yaml: unknown key 'learning_rate'; it belongs under 'train:'",
        f"{tmp_path}/bad.yaml: train: unknown key 'dialect'; it belongs at the top",
        f"{tmp_path}/bad.yaml: train: unknown key 'wieght'; did you mean 'weight' under 'sift:'?",
        f"{tmp_path}/bad.yaml: task: unknown task 'nli'; did you mean 'xnli'?",
        f"{tmp_path}/bad.yaml: model: deberta-v3-smal: no such directory or alias; did you mean 'deberta-v3-small'?; "
        "an id of the hub has its owner before it, such as google-bert/bert-base-uncased",
    ]


def test_check_warns_of_what_is_hardly_meant(tmp_path):
    (tmp_path / "hot.yaml").write_text("train:\n  learning_rate: 300\n")
    done = run("check", tmp_path / "hot.yaml")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/hot.yaml: ok\n")
    assert done.stderr.startswith(f"warning: {tmp_path}/hot.yaml: train.learning_rate: 300 is unusual")


COMMANDS = typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["debft", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert f"Example: debft {command}" in capsys.readouterr().out


def test_version_is_that_of_the_package():
    from debft import __version__

    assert run("--version").stdout == f"debft {__version__}\n"


def completed(**environment):
    """stdout of the command called `debft`, as a shell that completes it calls it; no shell need be around."""
    code = "import sys; sys.argv = ['debft']; from debft.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_completion_completes_commands_and_options():
    assert "complete -o default -F _debft_completion debft" in completed(_DEBFT_COMPLETE="source_bash")
    for words, at, expected in (("debft sub", "1", ["submit"]), ("debft mnli --max-se", "2", ["--max-seq-length"])):
        assert completed(_DEBFT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at).split() == expected


VALUES = {
    "mnli --model deberta-v3-s": ["deberta-v3-small"],
    "mnli --recipe electra": ["electra-base"],
    "xnli --language fr,d": ["fr,de"],
    "mnli --precision b": ["bf16"],
    "mnli --attention t": ["torch", "triton"],
    "mnli --set train.sch": ["train.schedule="],
    "mnli --set train.schedule=linear_": ["train.schedule=linear_unshifted"],
    "text --data de": ["demo"],
    "text --data own": ["own/"],
    "text --data ~nobody-has-this-name/r": [],
    "text --data own/r": ["own/rows.csv"],
    "check my": ["my.yaml"],
    "recipes rte/deberta-b": ["rte/deberta-base"],
    "recipes --task col": ["cola"],
    "evaluate own --task squad": ["squad2", "squad"],
    "tables --table mini": ["minilm-small"],
    "reproduce glu": ["glue"],
    "reproduce demo --row MN": ["MNLI", "MNLI+SiFT"],
    "reproduce mdeberta-v3 --task x": ["xnli"],
}
# All of them in one process; what it imported is said last.
COMPLETE_ALL = """
import contextlib, io, json, os, sys
from debft.cli.main import main
os.environ["_DEBFT_COMPLETE"] = "complete_bash"
for words in json.loads(sys.argv[1]):
    os.environ |= {"COMP_WORDS": f"debft {words}", "COMP_CWORD": str(len(words.split()))}
    sys.argv = ["debft"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    print(json.dumps(out.getvalue().split()))
print(json.dumps([name for name in ("torch", "transformers", "datasets", "numpy") if name in sys.modules]))
"""


def test_completion_completes_values_and_imports_nothing_heavy(tmp_path):
    (tmp_path / "own").mkdir()
    for name in ("own/rows.csv", "own/notes.txt", "my.yaml"):
        (tmp_path / name).touch()
    done = subprocess.run([sys.executable, "-c", COMPLETE_ALL, json.dumps([*VALUES])], capture_output=True, text=True, cwd=tmp_path)
    *completions, heavy = map(json.loads, done.stdout.splitlines())
    assert dict(zip(VALUES, completions, strict=True)) == VALUES, done.stderr
    assert heavy == []


def test_debft_alone_and_every_h_print_help_and_end_with_0():
    alone, short, long = (run(*words) for words in ([], ["mnli", "-h"], ["mnli", "--help"]))
    assert alone.returncode == short.returncode == 0 and alone.stderr == ""
    assert "Start with: debft mnli --data demo" in alone.stdout and short.stdout == long.stdout
    assert "<bool>" not in alone.stdout + long.stdout
    assert all(f"evaluate {title}:" in alone.stdout for title in ("CoLA", "SST-2", "SQuAD 2.0"))


@pytest.mark.parametrize("columns", [80, *(pytest.param(wide, marks=pytest.mark.sweep) for wide in (100, 120))])
def test_help_and_doctor_fit_the_terminal(columns):
    commands = [["--help"], ["text", "--help"], ["reproduce", "--help"], ["tables", "--help"], ["doctor"]]
    for command, lines in zip(commands, terminal.screens([(columns, words) for words in commands]), strict=True):
        assert len(lines) > 5 and all(len(line) <= columns for line in lines), command


MEANT = {
    ("mnli", "--learning-rat"): "no such option: --learning-rat; did you mean --learning-rate?",
    ("mnli", "--learning_rate"): "no such option: --learning_rate; did you mean --learning-rate?",
    ("text", "--label-colum"): "no such option: --label-colum; did you mean --label-column?",
    ("mnli", "--lr"): "--lr: debft's is --learning-rate",
    (
        "mnli",
        "--per_device_train_batch_size",
    ): "--per_device_train_batch_size: debft's is --train-batch-size, sequences per optimizer "
    "step over all devices: 8 GPUs x 8 = 64",
    ("mnli", "--model_name_or_path=x"): "--model_name_or_path: debft's is --model, an alias, a hub id or a directory",
    ("mnli", "--output_dir"): "--output_dir: debft's is --output, a run is a directory of its own, with the model in it",
    ("mnli", "--do_train"): "--do_train: debft trains and evaluates always; `debft evaluate` for the latter alone",
    ("mnli", "--fp16"): "--fp16: debft's is --precision fp16, fp32 and bf16 are the others; the weights are float32 always",
    (
        "mnli",
        "--hub-token",
        "secret",
    ): "--hub-token: HF_TOKEN in the environment, or `hf auth login`; a token in a command ends in shell histories and logs",
}


def refused(monkeypatch, capsys, *typed):
    """The lines that a command ends with."""
    monkeypatch.setattr(sys, "argv", ["debft", *typed])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("typed", MEANT)
def test_unknown_option_is_answered_by_the_one_that_is_meant(typed, monkeypatch, capsys):
    (line,) = refused(monkeypatch, capsys, *typed)
    assert line.endswith(f" {typed[0]}: {MEANT[typed]}")


def test_flags_of_another_program_are_all_answered_at_once(monkeypatch, capsys):
    typed = [
        "mnli",
        "--model_name_or_path",
        "m",
        "--seed",
        "3",
        "--do_train",
        "--evaluation_strategy=steps",
        "--gradient_accumulation_steps",
        "4",
    ]
    lines = refused(monkeypatch, capsys, *typed)
    named = ("--model_name_or_path:", "--do_train:", "--evaluation_strategy:", "--gradient_accumulation_steps:")
    assert len(lines) == 5 and all(name in line for name, line in zip(named, lines, strict=False))
    assert "debft import-command" in lines[-1]


def test_command_of_another_program_leads_to_its_import(monkeypatch, capsys):
    (line,) = refused(monkeypatch, capsys, "run_glue.py", "--task_name", "rte")
    assert "debft import-command" in line
    (line,) = refused(monkeypatch, capsys, "nli")
    assert line.endswith(": no such command: nli; did you mean xnli?")
    (line,) = refused(monkeypatch, capsys, "fit")
    assert line.endswith(": no such command: fit; `debft text` trains on texts of your own, `debft --help` lists the commands")


def test_option_of_another_command_is_answered_by_where_it_is(monkeypatch, capsys):
    (line,) = refused(monkeypatch, capsys, "mnli", "--label-column", "x")
    assert line.endswith("mnli: no such option: --label-column; it is one of `debft text`")
    (line,) = refused(monkeypatch, capsys, "predict", "runs/x", "--data", "rows.csv")
    assert line.endswith("no such option: --data; the rows are an argument: debft predict RUN FILE")


def test_number_beyond_its_bounds_is_answered_by_them(monkeypatch, capsys):
    (line,) = refused(monkeypatch, capsys, "serve", "runs/x", "--port", "99999")
    assert line.endswith("serve: --port: expected a number of at most 65535, got '99999'")


@pytest.mark.parametrize("typed", [("card", "runs/x", "--output"), ("compare", "runs/x", "runs/y", "--rows")])
def test_file_that_is_there_is_not_replaced(monkeypatch, capsys, tmp_path, typed):
    (tmp_path / "README.md").write_text("mine")
    monkeypatch.setattr(cli, "SIGNALS", ())
    (line,) = refused(monkeypatch, capsys, *typed, str(tmp_path / "README.md"))
    assert line.endswith(f"{typed[-1]} {tmp_path}/README.md: is there already; remove it, or choose another name")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_file_for_a_share_is_told_where_it_goes(monkeypatch, capsys):
    (line,) = refused(monkeypatch, capsys, "text", "--validation", "dev.csv")
    assert "text: --validation: expected a number, got 'dev.csv'; rows of their own go into a directory" in line


def test_unknown_option_that_is_near_to_none_leads_to_the_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["debft", "mnli", "--zork"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.endswith("no such option: --zork; --help lists the options\n")


def test_plain_lines_instead_of_a_bar_when_stderr_is_no_terminal(places, tmp_path):
    done = run("mnli", "--recipe", "demo", "--data", places / "good", "--max-steps", 1, "--output", tmp_path / "run")
    assert done.returncode == 0
    assert {"training from step 1", "weights    random, float32"} <= set(done.stderr.splitlines())
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


DRY = {
    "a finished run": (["--output", "done"], "holds a run already"),
    "a file": (["--output", "recipe.yaml"], "expected a directory that can be written"),
    "precision": (["--precision", "fp16"], "expected a CUDA GPU"),
    "attention": (["--attention", "triton"], "--attention triton: expected a backend that works here"),
}


@pytest.mark.parametrize("name", DRY)
def test_dry_run_refuses_what_the_run_would_refuse(places, name):
    (places / "done").mkdir(exist_ok=True)
    (places / "done" / "recipe.yaml").write_text("task: mnli\n")
    arguments = [str(places / a) if (places / a).exists() else a for a in DRY[name][0]]
    done = run("mnli", "--recipe", "demo", "--data", places / "good", "--dry-run", *arguments)
    assert done.returncode == 2
    assert DRY[name][1] in done.stderr


def test_rank_in_the_environment_alone_does_not_silence_the_command():
    assert "no such recipe" in run("check", "nope", RANK="1").stderr


def test_cache_that_cannot_be_made_is_one_line(places):
    done = run("mnli", "--recipe", "demo", "--data", places / "good", "--output", places / "out", DEBFT_CACHE="/proc/nowhere")
    assert done.returncode == 2
    assert "the cache cannot be made" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "words"), [("predict", "nothing was changed"), ("mnli", "no training step was lost"), ("evaluate", "nothing was")]
)
def test_interrupted_command_says_what_is_true_of_it(monkeypatch, capsys, command, words):
    codes = []
    monkeypatch.setattr("sys.argv", ["debft", command, "runs/x"])
    monkeypatch.setattr("os._exit", codes.append)
    cli._leave_interrupted()
    assert codes == [130] and f"interrupted by SIGINT; {words}" in capsys.readouterr().err


def test_command_whose_processes_were_interrupted_has_said_so_already(monkeypatch, capsys):
    """It ends with 130, as typer does where Ctrl-C has interrupted the command itself."""
    assert ended_with(lambda **_: 130, monkeypatch) == 130
    assert "interrupted" not in capsys.readouterr().err


def ended_with(app, monkeypatch):
    """The exit code of a command that does this."""
    monkeypatch.setattr("sys.argv", ["debft", "mnli"])
    monkeypatch.setattr(cli, "app", app)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        cli._ending.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
    return ended.value.code


NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


@pytest.mark.parametrize(("error", "said"), [(MemoryError(), "MemoryError"), (RuntimeError(NO_MEMORY), NO_MEMORY)])
def test_too_little_memory_anywhere_is_one_line_and_exit_code_5(monkeypatch, capsys, error, said):
    def app(**_):
        raise error

    assert ended_with(app, monkeypatch) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"the memory is not enough: {said}; use a machine with more")


TOO_LONG = "a" * 256  # bytes; names have 255


@pytest.mark.parametrize(
    "arguments",
    [
        ("mnli", "--data", "demo", "--recipe", "demo", "--output", TOO_LONG),
        ("mnli", "--data", TOO_LONG),
        ("mnli", "--data", "demo", "--recipe", TOO_LONG),
        ("mnli", "--data", "demo", "--model", TOO_LONG),
        ("text", "--data", TOO_LONG),
        ("evaluate", TOO_LONG),
        ("serve", TOO_LONG),
        ("card", TOO_LONG),
        ("tables", TOO_LONG),
        ("compare", TOO_LONG, TOO_LONG),
        ("recipes", TOO_LONG),
        ("doctor", "--model", TOO_LONG),
        ("reproduce", "demo", "--dry-run", "--output", TOO_LONG),
    ],
    ids=lambda arguments: " ".join(arguments).replace(TOO_LONG, "TOO_LONG"),
)
def test_name_that_is_too_long_for_a_file_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    app = cli.app
    monkeypatch.setattr(sys, "argv", ["debft", *arguments])
    assert ended_with(lambda **options: app(args=list(arguments), **options), monkeypatch) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.endswith(": expected a path that can be used, got: File name too long; give another one")


def test_path_that_is_not_permitted_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path):
    tmp_path.chmod(0)
    app, root = cli.app, os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        assert ended_with(lambda **options: app(args=["card", str(tmp_path / "run")], **options), monkeypatch) == 2
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    (line,) = capsys.readouterr().err.splitlines()
    # pytest's own directory above it is closed to others as well
    assert re.fullmatch(r"/\S+: expected a path that can be used, got: Permission denied; change that, or give another one", line)


@pytest.mark.parametrize(("rank", "said"), [("0", True), ("1", False)])
def test_signal_while_the_command_is_imported_is_said_by_one_process(rank, said):
    code = "from debft.runtime import early; import signal; early.take_signals(); signal.raise_signal(signal.SIGUSR1)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"RANK": rank, "WORLD_SIZE": "2"}
    )
    assert done.returncode == 128 + signal.SIGUSR1
    assert done.stderr == ("interrupted by SIGUSR1; nothing was changed\n" if said else "")


@pytest.mark.parametrize(
    ("arguments", "what"), [(["push", "run"], "Missing option '--repo'."), (["predict"], "Missing argument 'RUN_OR_MODEL'.")]
)
def test_missing_option_or_argument_leads_to_an_example(monkeypatch, capsys, arguments, what):
    monkeypatch.setattr(sys, "argv", ["debft", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    where, _, rest = line.partition(": ")
    assert (end.value.code, rest) == (2, f"{what} {where} --help has an example")
