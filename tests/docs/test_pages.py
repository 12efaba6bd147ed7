"""README and the pages of the site: every command in them runs, every option exists, every link leads somewhere."""

import re
import shlex

import pages
import pytest
import typer

from debft.cli import main as cli

GROUP = typer.main.get_command(cli.app)


def command_of(words):
    """The command that `debft WORDS` runs, and the words behind its name."""
    command = GROUP
    while words and hasattr(command, "commands"):
        if words[0].startswith("-") or words[0] == "TASK":
            break
        assert words[0] in command.commands, f"debft has no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command):
    parameters = command.get_params(typer.Context(command))
    return {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}


def check_options(words):
    command, rest = command_of(words)
    given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
    assert given <= options_of(command), f"debft {shlex.join(words)}: no such option: {given - options_of(command)}"


@pytest.mark.parametrize("page", pages.PAGES)
def test_options_of_the_commands_in_blocks_exist(page):
    for block in pages.blocks(pages.PAGES[page]):
        for command in block.commands:
            for words in pages.stages(command):
                if words[0] == "debft" and pages.exit_code(command) is None:
                    check_options(words[1:])


@pytest.mark.parametrize("page", pages.PAGES)
def test_options_of_the_commands_in_sentences_exist(page):
    text = pages.FENCE.sub("", pages.PAGES[page].read_text(encoding="utf-8"))
    for span in re.findall(r"`debft ([a-z][^`]*)`", text):
        words = shlex.split(span)
        if not any(word.isupper() for word in words[:1]):
            check_options(words)


@pytest.mark.parametrize("page", pages.PAGES)
def test_commands_stand_in_blocks_that_are_run(page):
    for block in pages.blocks(pages.PAGES[page]):
        if block.language not in ("sh", "console"):
            assert not re.search(r"^(\$ |debft |make |pip )", block.text, re.M), block.text
        assert not (block.language in ("sh", "console") and block.title), block.title


def test_added_options_belong_to_commands_that_are_there():
    for page, starts in pages.ADDED.items():
        commands = [command for block in pages.blocks(pages.PAGES[page]) for command in block.commands]
        for start in starts:
            assert [command for command in commands if command.startswith(start)], f"{page}: {start}"


@pytest.mark.sweep
@pytest.mark.parametrize("page", [name for name, path in pages.PAGES.items() if any(b.commands for b in pages.blocks(path))])
def test_commands_of_a_page_run_in_their_order(page, tmp_path):
    commands = [command for block in pages.blocks(pages.PAGES[page]) for command in block.commands]
    assert pages.PageRun(page, tmp_path).follow() == len(commands) > 0  # each is judged where it ends


def test_blocks_are_read_as_a_reader_does(tmp_path):
    """Of a page: a file, a comment, a quoted pipe, an output, a block in a note, and an error that is meant."""
    page = tmp_path / "page.md"
    page.write_text(
        '```csv title="a.csv"\ntext\n```\n'
        "```sh\n# nothing\ndebft text --label-separator '|' \\\n  --data a.csv  # why\n```\n"
        "```text\nno command\n```\n"
        "??? note\n    ```console\n    $ cat a.csv | debft predict x > b\n    what it prints\n    $ debft mnli --lr 1  # exit code 2\n    ```\n"
    )
    file, first, text, second = pages.blocks(page)
    assert (file.title, file.text, file.commands) == ("a.csv", "text\n", [])
    assert [pages.stages(command) for command in first.commands] == [
        [["debft", "text", "--label-separator", "|", "--data", "a.csv"]]
    ]
    assert text.commands == []
    piped, wrong = second.commands
    assert pages.stages(piped) == [["cat", "a.csv"], ["debft", "predict", "x", ">", "b"]]
    assert (pages.exit_code(piped), pages.exit_code(wrong)) == (None, 2)


def test_page_whose_command_fails_is_named_with_it(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```sh\ndebft recipes nope\n```\n")
    monkeypatch.setitem(pages.PAGES, "page.md", page)
    with pytest.raises(AssertionError, match=r"page.md: debft recipes nope\nexit code 2"):
        pages.PageRun("page.md", tmp_path).follow()
