"""What no line may hold: control characters of labels and ids, secrets; and what DEBFT_TRACEBACK shows behind a line."""

import json

import pytest

import debft.cli.main as command_line
from debft.config.reading import from_dict
from debft.console import console, put, say
from debft.errors import InputError, visible, without_secrets
from debft.runs.environment import command_line as typed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("a\rb", "a\\u000db"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
        ("a\tb\nç 他 👍🏽", "a\tb\nç 他 👍🏽"),
    ],
)
def test_control_characters_are_written_as_json_writes_them(text, shown):
    assert visible(text) == shown


def test_json_with_control_characters_is_still_the_same_value(capsys):
    value = {"a\x9b": "b\x7f\u202e"}
    put(json.dumps(value, ensure_ascii=False))
    printed = capsys.readouterr().out
    assert json.loads(printed) == value and printed.isascii()


def test_lines_for_people_hold_no_control_characters(capsys):
    say("a label \x1b]0;title\x07")
    console.print("a cell \x1b[2J", markup=False)
    assert capsys.readouterr().err == "a label \\u001b]0;title\na cell \\u001b[2J\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a planted value stands here", "a *** stands here"),
        ("hf_abcdefghijklmnopqrst", "***"),
        ("https://me:word@example.org/x", "https://***example.org/x"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("hf-internal-testing/tiny-random-bert", "hf-internal-testing/tiny-random-bert"),
        ("runs/task-sk-learn-0123456789abcdef", "runs/task-sk-learn-0123456789abcdef"),
    ],
)
def test_secrets_are_taken_out_of_texts(monkeypatch, text, shown):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted value")
    assert without_secrets(text) == shown


def test_secret_in_an_error_of_another_library_is_not_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_0123")
    error = InputError("403 for Bearer hf_planted_0123")
    assert (error.problems, str(error)) == (("403 for Bearer ***",), "403 for Bearer ***")


def test_secret_in_the_command_is_not_recorded(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "planted value")
    monkeypatch.setattr("sys.argv", ["debft", "mnli", "--data", "x-planted value-y"])
    assert typed() == "debft mnli --data 'x-***-y'"


def test_secret_in_a_recipe_is_refused_by_its_key(monkeypatch):
    monkeypatch.setenv("SOME_PASSWORD", "planted value")
    with pytest.raises(InputError, match=r"^r\.yaml: source: expected no token or password") as error:
        from_dict({"source": "by planted value"}, "r.yaml")
    assert "planted" not in str(error.value)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), (None, False)])
def test_traceback_variable_shows_what_led_to_an_error(monkeypatch, capsys, value, shown):
    def fail(**_):
        try:
            {}["a bug of ours"]
        except KeyError:
            raise InputError("x: expected y, got z") from None

    monkeypatch.setattr(command_line, "app", fail)
    monkeypatch.delenv("DEBFT_TRACEBACK", raising=False)
    if value is not None:
        monkeypatch.setenv("DEBFT_TRACEBACK", value)
    with pytest.raises(SystemExit) as end:
        command_line.main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.endswith("x: expected y, got z\n")
    assert ("KeyError: 'a bug of ours'" in said) == shown


def test_traceback_of_a_bug_holds_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "planted value")
    error = KeyError("planted value")
    command_line._print_bug(KeyError, error, None)
    assert capsys.readouterr().err == "KeyError: '***'\n"
