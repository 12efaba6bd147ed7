"""Shell text is read as bash reads it, as far as it goes; what only a shell could know is marked. Oracle: bash itself."""

import itertools
import shutil
import subprocess

import pytest

from debft.cli.foreign.shell_text import MARK, Script
from debft.errors import InputError

SETTINGS = "one=1\ntwo='a  b'\nexport three=\"x $one\"\nfour=\nfive=$two$one; six=\"${two}\"'$one'\n"
PIECES = (
    "plain", '"two words"', "'single $one'", "$one", '"$two"', "$two", "${one}x", "${none:-d}", '"${none:-d e}"', r"a\ b", r'"q\"q"', r'"\$one"',
    'x$one"$two"y', "''", '""', "#no", "a#b", "$three", "$four", '"$four"', "$five", '"$six"', "--flag=$two", "'it'\"'\"'s'", r"\$one",
)  # fmt: skip


def words(text):
    """The words behind each `show` of a script."""
    return [statement.words[1:] for statement in Script().statements(text, "") if statement.words[0] == "show"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_words_are_those_of_bash():
    lines = [f"show {a}{between}{b}" for a, b in itertools.product(PIECES, repeat=2) for between in ("", " ")]
    script = SETTINGS + "\n".join(lines)
    code = "show() { printf '<'; printf '%s|' \"$@\"; printf '>\\n'; }\n" + script
    printed = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [f"<{'|'.join([*each, ''])}>" if each else "<|>" for each in words(script)]
    assert len(ours) == len(lines)
    compared = [
        each for each in zip(lines, printed, ours, strict=True) if MARK not in each[2]
    ]  # `$one` and `plain` are `$oneplain`
    assert len(lines) - len(compared) < 50
    assert [(line, theirs, mine) for line, theirs, mine in compared if theirs != mine] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "text",
    [
        "show a \\\n  b \\\n\tc",
        "show 'a\nb' c",
        'p=" --x 1 \\\n --y 2 "\nshow $p',
        "show a > /dev/null; show b 2>&1; show c && show d || show e",
        "x=1; x=2; show $x; x=3 true; show $x",
        "# show a\nshow b # c\n  # d\nshow 'e # f'",
        "if true; then show a; fi\n{ show b; }",
        "show a;show b",
    ],
)
def test_commands_are_cut_as_bash_cuts_them(text):
    """Those that bash skips (`||`) or whose output goes elsewhere are words of a command all the same."""
    code = "show() { printf '%s|' \"$@\" >&3; printf '\\n' >&3; }\n" + text.replace("|| show e", "; show e")
    done = subprocess.run(["bash", "-c", f"exec 3>&1\n{code}"], capture_output=True, text=True, check=True)
    assert "".join("|".join([*each, ""]) + "\n" for each in words(text)) == done.stdout


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("show $none", "$none is not set"),
        ("show $(date)", "$(date) is not run"),
        ("show `date`", "`date` is not run"),
        ("show $1", "$1 is an argument"),
        ("show ${x^^}", "${x^^} is not worked out"),
        ("show $((8 * 8))", "$((8 * 8)) is not run"),
        ("x=$(nproc)\nshow $x", "$(nproc) is not run"),
        ("x=1\nif true; then\nx=2\nfi\nshow $x", "$x is set under a condition"),
        ("x=1\nf() {\nx=2\n}\nshow $x", "$x is set under a condition"),
        ("x=1\nfor x in 1 2; do\nshow $x\ndone", "$x changes in a loop"),
        ("x=1\nread x\nshow $x", "$x changes"),
        ("x=1\nx+=2\nshow $x", "$x is an array or added to"),
        ("x=(1 2)\nshow $x", "$x is an array or added to"),
    ],
)
def test_what_only_a_shell_could_know_is_marked(text, why):
    script = Script()
    (statement,) = [each for each in script.statements(text, "") if each.words[0] == "show"]
    assert MARK in statement.words[1]
    assert script.unknown_in(statement.words[1])[0].startswith(why)


def test_defaults_within_each_other_are_worked_out_so_far_and_then_marked():
    def nested(depth):
        script = Script()
        (statement,) = script.statements(f"show {'${a:-' * depth}x{'}' * depth}", "")
        return statement.words[1], script.unknown_in(statement.words[1])

    assert nested(5) == ("x", [])
    for depth in (20, 3000):
        assert nested(depth)[1][0].startswith("${a:-${a:-")
    list(Script().statements("X=" + "${A:-" * 3000 + " ; show", ""))


def test_variables_of_this_process_are_not_read(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    script = Script()
    (statement,) = script.statements("show $HF_TOKEN", "")
    assert "hf_secret" not in statement.words[1]


def test_quotes_that_do_not_close_are_an_error_with_their_line():
    with pytest.raises(InputError, match=r"train\.sh:2"):
        list(Script().statements("show a\nshow 'b", "train.sh"))
