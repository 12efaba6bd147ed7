"""A shell script is read here as text: its commands, with the variables that it sets itself. Nothing is run, no shell is asked.

What only a shell could know, `$(nproc)`, `$1`, a variable that the text does not set, or sets under a condition, becomes a mark in
the word that has it (`unknown_in`), so that whoever needs the word can say so.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from debft.errors import InputError, first_line

LONGEST = 80  # characters of something unknown in an error line
DEEPEST = 8  # defaults of variables within each other that are worked out; each quotes those within it once more
MARK = "\ue000"  # of the private use area: around the number of an unknown
OPENING = {"if", "for", "while", "until", "case", "select", "{"}
CLOSING = {"fi", "done", "esac", "}"}
CHANGING = {"for", "select", "read", "let", "unset", "mapfile"}
BEFORE = {"do", "then", "else", "elif", "time", "nohup", "exec", "command", "sudo", "env", "!", "$", "function", *CHANGING}
BEFORE |= {"export", "declare", "local", "readonly"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=", re.ASCII)
_ARRAY = re.compile(r"\s*(?:export\s+|declare\s+(?:-\w+\s+)*|local\s+)?([A-Za-z_][A-Za-z0-9_]*)(?:\+=|=\()", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):?-(.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A command of a script."""

    line: int
    """Where it begins, from 1."""
    words: list[str]
    """Its words, as a shell would hand them on, without redirections."""
    variables: dict[str, str]
    """What the script has set so far, and what stands before the command itself."""


@dataclass(kw_only=True)
class Script:
    """What is known while a script is read from its first line to its last."""

    variables: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """What only a shell could know, as an error line has it; a mark in a word holds the index."""

    def mark(self, what: str) -> str:
        """Return the mark that stands for something unknown."""
        what = " ".join(what.split())
        self.unknown.append(what if len(what) <= LONGEST else f"{what[:LONGEST]}...")
        return f"{MARK}{len(self.unknown) - 1}{MARK}"

    def unknown_in(self, word: str) -> list[str]:
        """Return what is unknown in a word."""
        return [self.unknown[int(number)] for number in re.findall(f"{MARK}([0-9]+){MARK}", word)]

    def statements(self, text: str, where: str) -> Iterator[Statement]:
        """Give the commands of a script in their order, and keep the variables that it sets. Raises InputError."""
        depth = 0
        for number, line in _logical_lines(text.replace(MARK, "\ufffd")):
            for part in _parts(line):
                if array := _ARRAY.match(part):
                    self.variables[array[1]] = self.mark(f"${array[1]} is an array or added to")
                    continue
                for words in _commands(self.expanded(part), f"{where}:{number}"):
                    words, depth = self._within(words, depth)
                    settings = [word for word in words if _ASSIGNMENT.match(word)]
                    if settings == words:
                        self._set(settings, conditional=depth > 0)
                    else:
                        own = dict(word.split("=", 1) for word in _leading(words))
                        yield Statement(line=number, words=words[len(own) :], variables=self.variables | own)

    def _within(self, words: list[str], depth: int) -> tuple[list[str], int]:
        """Take away the shell's own words, and count how deep the command is in conditions, loops and functions."""
        while words and (words[0] in {*OPENING, *CLOSING, *BEFORE} or words[0].startswith("!")):
            depth += (words[0] in OPENING) - (words[0] in CLOSING)
            if words[0] in CHANGING:
                for name in filter(_NAME.fullmatch, (word.partition("=")[0] for word in words[1:])):
                    self.variables[name] = self.mark(f"${name} changes in a loop or by `{words[0]}`")
                return [], depth
            words = [words[0][1:], *words[1:]] if len(words[0]) > 1 and words[0].startswith("!") else words[1:]
        while words and words[-1] in {"{", "}"}:
            depth += 1 if words.pop() == "{" else -1
        return words, depth

    def _set(self, settings: list[str], conditional: bool) -> None:
        for word in settings:
            name, _, value = word.partition("=")
            self.variables[name] = self.mark(f"${name} is set under a condition, in a loop or a function") if conditional else value

    def expanded(self, line: str, depth: int = 0) -> str:
        """Put the values of variables into a line of shell text, quoted where a shell would not split them.

        depth: of the defaults of variables, `${a:-${b:-c}}`, in which the line stands
        """
        out, position, double, begin = [], 0, False, 0
        while position < len(line):
            char = line[position]
            if char.isspace() and not double:
                begin = position + 1  # of the word
            if char == "\\":
                escaped = line[position + 1 : position + 2]
                out.append(escaped if double and escaped in ("$", "`") else char + escaped)  # shlex leaves these two as they are
                position += 2
            elif char == "'" and not double:
                end = line.find("'", position + 1)
                end = len(line) if end < 0 else end + 1
                out.append(line[position:end])
                position = end
            elif char in "$`":
                value, position = self._value_at(line, position, depth)
                whole = f'"{_inside_quotes(value)}"' if _sets(line[:begin], line[begin:]) else _split(value)
                out.append(_inside_quotes(value) if double else whole)
            else:
                double ^= char == '"'
                out.append(char)
                position += 1
        return "".join(out)

    def _value_at(self, line: str, start: int, depth: int) -> tuple[str, int]:
        """Return the value of the `$...` or backticks at `start`, and where they end."""
        rest = line[start:]
        if rest.startswith("$("):
            return self._not_run(rest[: _closing(rest, "(", ")")], start)
        if rest.startswith("`"):
            end = rest.find("`", 1)
            return self._not_run(rest if end < 0 else rest[: end + 1], start)
        if rest.startswith("${"):
            end = _closing(rest, "{", "}")
            return self._of(rest[2 : end - 1], depth), start + end
        if name := _NAME.match(rest, 1):
            return self._of(name.group(), depth), start + name.end()
        if len(rest) > 1 and (rest[1].isdigit() or rest[1] in "@*#?$!-"):
            return self.mark(f"{rest[:2]} is an argument of the script"), start + 2
        return "$", start + 1

    def _not_run(self, text: str, start: int) -> tuple[str, int]:
        return self.mark(f"{text} is not run here"), start + len(text)

    def _of(self, name: str, depth: int) -> str:
        """Return the value of `NAME` or `NAME:-default`; nothing else is expanded."""
        if _NAME.fullmatch(name):
            return self.variables[name] if name in self.variables else self.mark(f"${name} is not set in the text")
        if depth < DEEPEST and (match := _DEFAULT.fullmatch(name)):
            return self.variables.get(match[1]) or self.expanded(match[2], depth + 1)
        return self.mark(f"${{{name}}} is not worked out here")


def _closing(text: str, opening: str, closing: str) -> int:
    """Return the position behind the bracket that closes the first one, or the end."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char == opening) - (char == closing)
        if char == closing and not depth:
            return position + 1
    return len(text)


def _inside_quotes(value: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", value)


def _split(value: str) -> str:
    """Return a value as words that shlex reads back: a shell splits what is not in quotes at its spaces."""
    words = " ".join(shlex.quote(word) for word in value.split())
    return f"{' ' * value[:1].isspace()}{words}{' ' * value[-1:].isspace()}"


def _sets(before: str, word: str) -> bool:
    """Tell whether a word sets a variable, `NAME=...` before any command: its value is not split."""
    return bool(_ASSIGNMENT.match(word)) and all(_ASSIGNMENT.match(each) or each in BEFORE for each in before.split())


def _leading(words: list[str]) -> list[str]:
    """Return the `NAME=value` before a command."""
    for number, word in enumerate(words):
        if not _ASSIGNMENT.match(word):
            return words[:number]
    return words


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Give (number, line), where a backslash or an open quote goes on in the next line, and without comments.

    A line's end that was typed as two characters, backslash and n, as JSON has it, counts too.
    """
    text = text.replace("\r\n", "\n")
    if "\n" not in text.strip():
        text = re.sub(r"\\+n(?=\s*-)", " ", text)
        text = re.sub(r"\\+n(?=\s)", "\n", text)
    begun, held = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun if held else number
        held += _without_comment(line) if not _quote_is_open(held) else line
        if held.endswith("\\") and not held.endswith("\\\\"):
            held = held[:-1] + " "
        elif _quote_is_open(held):
            held += "\n"
        else:
            yield begun, held
            held = ""
    if held:
        yield begun, held


def _quote_is_open(text: str) -> bool:
    try:
        shlex.split(text, comments=False)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def _without_comment(line: str) -> str:
    """Cut a line where a word begins with `#`, outside of quotes. What a backslash hides before its line's end stays."""
    quote, escaped = "", False
    for position, char in enumerate(line):
        if escaped or (char == "\\" and quote != "'"):
            escaped = not escaped
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position]
    return line.rstrip()


def _parts(line: str) -> Iterator[str]:
    """Give the commands of a line as text, cut at `;`, `&`, `|` and line ends outside of quotes, brackets and redirections."""
    start, position, quote = 0, 0, ""
    while position < len(line):
        char = line[position]
        if char == "\\" and quote != "'":
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif line.startswith(("$(", "${"), position):
            position += _closing(line[position:], line[position + 1], {"(": ")", "{": "}"}[line[position + 1]]) - 1
        elif char in ";|\n" or (char == "&" and line[position - 1 : position] != ">" and line[position + 1 : position + 2] != ">"):
            yield line[start:position]
            start = position + 1
        position += 1
    yield line[start:]


def _commands(line: str, where: str) -> Iterator[list[str]]:
    """Give the words of each command of a line; redirections are left out. Raises InputError for quotes that do not close."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise InputError(f"{where}: expected words as a shell reads them, got: {first_line(error).lower()}") from None
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif set(token) <= set("<>&") and set(token) & set("<>"):
            skip = True
            if words and words[-1].isdigit():
                words.pop()
        elif set(token) <= set("();<>|&") and token:
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words
