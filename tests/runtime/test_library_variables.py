"""A variable that a library could not read when it is imported is one line that names it."""

import subprocess
import sys

import pytest

from debft.errors import InputError
from debft.runtime.library_variables import NUMBERS, TRIED, WHOLE_NUMBERS, WORDS, check_library_variables


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in (*WHOLE_NUMBERS, *NUMBERS, *WORDS, *TRIED):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HF_HUB_ETAG_TIMEOUT", "abc", "a whole number"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "", "a whole number"),
        ("TORCHINDUCTOR_COMPILE_THREADS", "1.5", "a whole number"),
        ("TQDM_MININTERVAL", "abc", "a number"),
        ("HF_DATASETS_IN_MEMORY_MAX_SIZE", "", "a number"),
        ("ACCELERATE_LOG_LEVEL", "nonsense", "CRITICAL, FATAL, ERROR, WARN"),
        ("TORCH_DISTRIBUTED_DEBUG", "nonsense", "OFF, INFO, DETAIL"),
    ],
)
def test_variable_that_a_library_cannot_read_is_named_with_what_it_may_be(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^{name}: expected {expected}.*, got '{value}'; correct it, or unset it$"):
        check_library_variables()


def test_variables_that_their_libraries_can_read_pass(monkeypatch):
    for name in WHOLE_NUMBERS:
        monkeypatch.setenv(name, "-1")
    for name in NUMBERS:
        monkeypatch.setenv(name, "1e-1")
    for name, words in WORDS.items():
        monkeypatch.setenv(name, words[0].lower())
    monkeypatch.setenv("MPLBACKEND", "module://a.notebook")
    check_library_variables()


@pytest.mark.parametrize(
    ("name", "value"), [("TORCH_LOGS", "nonsense"), ("TORCH_LOGS_OUT", "/nonexistent/log"), ("MPLBACKEND", "nonsense")]
)
def test_what_a_library_alone_can_tell_is_asked_of_it_and_help_imports_nothing(monkeypatch, name, value):
    """A process of its own: here both are imported already."""
    pytest.importorskip(TRIED[name][0])
    monkeypatch.setenv(name, value)
    refused = subprocess.run([sys.executable, "-m", "debft", "runs", "."], capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"{name}: expected what {TRIED[name][0]} can read, got '{value}' (") and line.endswith("or unset it")
    if name == "TORCH_LOGS":
        assert subprocess.run([sys.executable, "-m", "debft", "runs", "--help"], capture_output=True).returncode == 0
