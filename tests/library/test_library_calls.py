"""`debft.finetune` is the run of the command line as a call: the same options, errors for a caller, nothing global changed."""

import gc
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy
import pytest
import torch
import transformers.utils.logging  # so that its logger is there before

import debft
from debft.library.kept import caller_kept
from debft.library.keywords import ONLY_TYPED, by_keywords, keys_of
from debft.library.options import OPTIONS
from debft.runs.directory import RunDirectory

SHORT = {"data": "demo", "max_steps": 2, "max_train_samples": 40, "max_eval_samples": 8, "train_batch_size": 4, "precision": "fp32"}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """(result, directory, what a caller may notice before and after)"""
    output = tmp_path_factory.mktemp("short") / "run"
    before = noticed()
    result = debft.finetune("rte", output=output, quiet=True, set={"train.adam_epsilon": 1e-7}, **SHORT)
    return result, output, before, noticed()


def noticed():
    """What a caller may notice of the whole process."""
    return {
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "wakeup": signal.set_wakeup_fd(-1),
        "python": random.getstate(),
        "numpy": [str(part) for part in numpy.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "directory": Path.cwd(),
        "levels": {name: logging.getLogger(name).level for name in ("transformers", "accelerate", "datasets")},
        "bars": transformers.utils.logging.is_progress_bar_enabled(),
        "root": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "filters": list(warnings.filters),
        "collects": gc.isenabled(),
        "kept": gc.get_freeze_count(),
    }


def test_result_is_that_of_the_run_directory(short):
    result, output, *_ = short
    assert isinstance(result, debft.RunResult) and RunDirectory(output).result() == result
    assert (output / "report.html").is_file()


def test_keywords_and_set_reach_the_recipe(short):
    recipe = RunDirectory(short[1]).recipe()
    assert (recipe.task, recipe.train.max_steps, recipe.train.adam_epsilon) == ("rte", 2, 1e-7)


def test_nothing_of_the_caller_is_changed_by_a_run(short):
    *_, before, after = short
    assert {name for name in before if before[name] != after[name]} == set()


def test_quiet_call_prints_nothing(short, tmp_path, capfd):
    debft.finetune("rte", output=short[1], resume=True, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_call_says_what_it_does_on_stderr_alone(short, capfd):
    debft.finetune("rte", output=short[1], resume=True)
    printed = capfd.readouterr()
    assert printed.out == "" and "already complete" in printed.err


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"learning_rat": 1}, "learning_rat: no such keyword; did you mean 'learning_rate'?"),
        ({"lr": 1}, "lr: no such keyword; did you mean 'learning_rate'?"),
        ({"learning_rate": -1.0}, "learning_rate: expected a number above 0, got -1.0"),
        ({"seeds": 3}, "seeds: is an option of the command line alone; call finetune once for each seed, with seed=1, seed=2, ..."),
        ({"train_language": "fr"}, "train_language: no such keyword; the options"),
        ({"set": {"train.adam_epsilo": 1}}, "adam_epsilo"),
        ({"set": {"seed": 1}}, "set seed=1: expected SECTION.KEY=VALUE"),
        ({"set": ["train.seed=1"]}, "set: expected a mapping"),
        ({"resume": True, "overwrite": True}, "overwrite=True: begins anew, where resume=True goes on"),
    ],
)
def test_wrong_keyword_is_named_as_the_caller_wrote_it(given, line):
    with pytest.raises(debft.InputError) as raised:
        debft.finetune("rte", data="demo", **given)
    assert line in str(raised.value) and "--" not in str(raised.value).replace("--help`", "")


@pytest.mark.parametrize("place", ["\ud800", "a\0b", "", b"x", 5, True, [], Path("\ud800")], ids=ascii)
def test_place_that_no_file_can_have_is_refused(place):
    calls = {
        "output": lambda: debft.finetune("rte", data="demo", output=place),
        "recipe": lambda: debft.finetune("rte", data="demo", recipe=place),
        "path": lambda: debft.load(place),
    }
    for name, call in calls.items():
        with pytest.raises(debft.InputError, match=f"^{name}: expected a name or path in UTF-8, got "):
            call()


@pytest.mark.parametrize("name", ["precision", "max_eval_samples"])
@pytest.mark.parametrize("value", ["x", -1, 1.5, True, []], ids=ascii)
def test_wrong_keyword_of_an_evaluation_is_named(short, name, value):
    with pytest.raises(debft.InputError, match=rf"^{name}: expected .*, got {re.escape(repr(value))}$"):
        debft.evaluate(short[1], data="demo", **{name: value})


def test_name_that_is_too_long_is_an_input_error(tmp_path):
    with pytest.raises(debft.InputError, match="File name too long; give another one"):
        debft.load(tmp_path / ("x" * 300))


def test_unknown_task_is_an_input_error():
    with pytest.raises(debft.InputError, match=r"^task: unknown task \[\]"):
        debft.finetune([])
    with pytest.raises(debft.InputError, match=r"^task: unknown task 'mnly'; did you mean 'mnli'\?"):
        debft.finetune("mnly")


def test_occupied_directory_is_told_in_the_words_of_a_call(short):
    with pytest.raises(debft.InputError) as raised:
        debft.finetune("rte", output=short[1], **SHORT)
    assert str(raised.value).startswith(
        f"output='{short[1]}': holds a run already; resume=True continues it, restart=True begins it anew, overwrite=True puts"
    )


def test_command_that_a_line_tells_to_type_keeps_its_flags():
    line = "--data x: gone; `debft text --data FILE` shows it"
    assert by_keywords(line, {}) == "data='x': gone; `debft text --data FILE` shows it"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--validation 0.1: expected rows; give a larger share", "validation=0.1: expected rows; give a larger share"),
        ("--model nope-small: no such directory", "model='nope-small': no such directory"),
        ("say --problem classification or --problem regression", "say problem='classification' or problem='regression'"),
        ("name them with --text-columns A or A,B", "name them with text_columns=A or A,B"),
        ("name it with --label-column; mend it", "name it with label_column; mend it"),
        ("give --data a file, or --encoding cp1252", "give data a file, or encoding='cp1252'"),
        ("connect to it, or give --model DIR; else --data demo", "connect to it, or give model=DIR; else data='demo'"),
        ("mend it, or --skip-bad-rows leaves them out", "mend it, or skip_bad_rows=True leaves them out"),
        ("--resume 3 runs: no", "resume=True 3 runs: no"),
        ("--set train.nope: unknown key", "set train.nope: unknown key"),
    ],
)
def test_option_with_its_value_is_told_as_a_keyword(line, told):
    assert by_keywords(line, {}) == told


def test_weights_of_labels_may_be_a_dict():
    assert keys_of("text", {"class_weight": {"pos": 2, "neg": 0.5}}) == {"train.class_weight": "pos=2,neg=0.5"}


def test_shown_model_is_short(short):
    assert repr(debft.load(short[1])).endswith("task='rte', columns=('sentence1', 'sentence2'))")


def test_every_option_is_a_keyword_or_says_why_not():
    assert set(ONLY_TYPED) <= {option.name for option in OPTIONS}


@pytest.mark.parametrize("error", [debft.InputError("x"), KeyboardInterrupt(), ZeroDivisionError()], ids=lambda e: type(e).__name__)
def test_everything_global_is_restored_after_an_error(error, tmp_path):
    before = noticed()
    with pytest.raises(type(error)), caller_kept(quiet=True):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.set_grad_enabled(False)
        os.environ["DEBFT_SOMETHING"] = "1"
        os.environ.pop("DEBFT_CACHE")
        os.chdir(tmp_path)
        logging.getLogger("transformers").setLevel(1)
        logging.disable(logging.CRITICAL)
        logging.root.setLevel(1)
        warnings.simplefilter("error")
        gc.disable()
        raise error
    after = noticed()
    assert {name for name in before if before[name] != after[name]} == set()


def test_state_of_accelerate_is_the_callers_again():
    from accelerate.state import AcceleratorState, PartialState

    states = [kind._shared_state for kind in (AcceleratorState, PartialState)]
    contents = [dict(state) for state in states]
    with caller_kept():
        PartialState(cpu=True)
        assert PartialState._shared_state is not states[1]
    assert AcceleratorState._shared_state is states[0] and PartialState._shared_state is states[1]
    assert [dict(state) for state in states] == contents


def test_run_in_another_thread_gives_the_same_scores(short, tmp_path):
    results = []

    def call():
        results.append(debft.finetune("rte", output=tmp_path / "run", quiet=True, set={"train.adam_epsilon": 1e-7}, **SHORT))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert results and results[0].scores == short[0].scores


def test_ctrl_c_saves_and_reaches_the_caller_as_keyboard_interrupt(tmp_path, monkeypatch):
    from debft.training.loop import step_seed

    signals = [signal.SIGINT]  # one, during the first step

    def interrupted(*of):
        if signals:
            signal.raise_signal(signals.pop())
        return step_seed(*of)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("debft.training.loop.step_seed", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            debft.finetune("rte", output=tmp_path / "run", quiet=True, **SHORT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_import_is_light():
    """Whoever imports debft waits for none of these before the first call."""
    code = "import sys, debft; print(sorted({'torch', 'pandas', 'transformers', 'numpy', 'typer', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_names_of_the_library_are_there():
    assert set(debft.__all__) <= set(dir(debft)) and all(callable(getattr(debft, name)) for name in debft.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        debft.fine_tune  # noqa: B018
