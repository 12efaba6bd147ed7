"""Values, texts and bytes that programs do not expect."""

import json
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

HOSTILE_TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "1e309",
    "nan",
    "-inf",
    "true",
    "null",
    "[]",
    "{}",
    "..",
    "../..",
    "../x",
    "a/b",
    "/",
    "~",
    "~nobody/x",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\nb",
    "a\rb",
    "a\tb",
    "\u202egnp.exe",
    "\ufeff",
    "\udcff",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "[red]rich[/red]",
    "[/]",
    "{{ 7 * 7 }}",
    "%s%n",
    "$(touch PWNED)",
    "`touch PWNED`",
    "a" * 300,
    "é" * 300,
    "x," * 300,
    "1" * 400,
    "__class__",
    "demo",
    "--help",
    "-",
    "--",
)
NUMBERS = (0, -1, 1, 2, 3.5, 1e308, -1e308, 10**30, -(10**30), float("nan"), float("inf"), 1e-320, 2**31, 2**63, 2**64)
# Documents that do more than to name values. Whatever they ask for, no file called PWNED may come of it.
HOSTILE_YAML = (
    "!!python/object/apply:os.system ['touch PWNED']",
    "train: !!python/object/apply:os.system ['touch PWNED']",
    "train: !!python/name:os.system",
    "model: !!python/object/new:os.system ['touch PWNED']",
    "model: !!binary aGVsbG8=",
    "model: !!timestamp 2001-01-01",
    "model: !!set {a, b}",
    "model: !include /etc/passwd",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntrain: {seed: *c}",
    "train: &t {seed: 1, more: *t}",
    "<<: {model: demo}\ntrain: {<<: {seed: 3}}",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "- 1\n- 2",
    "--- a\n--- b",
    "%YAML 9.9\n---\nmodel: x",
    "[" * 3000,
    "{a: " * 3000,
    "model: 'x",
    "\t- x",
    "model: demo\nmodel: other",
)


def broken(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some flipped, cut off, doubled or put in between."""

    @st.composite
    def made(draw: Callable) -> bytes:
        result = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, max(len(result) - 1, 0)))
            how = draw(st.sampled_from(("flip", "cut", "insert", "double", "drop")))
            if how == "flip" and result:
                result[at] ^= draw(st.integers(1, 255))
            elif how == "cut":
                del result[at:]
            elif how == "insert":
                result[at:at] = draw(
                    st.sampled_from((b"\0", b"\xff\xfe", b"\x1b[31m", b'"', b"\n", b"\t", b",", b"{", b"\xed\xa0\x80"))
                )
            elif how == "double":
                result[at:at] = result[at : at + draw(st.integers(1, 200))]
            else:
                del result[at : at + draw(st.integers(1, 50))]
        return bytes(result)

    return made()


def values() -> st.SearchStrategy[Any]:
    """Plain values of any kind, also nested."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(NUMBERS),
        st.integers(),
        st.floats(),
        st.sampled_from(HOSTILE_TEXTS),
        st.text(max_size=20),
    )
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=4,
    )


def places(content: Any, before: tuple = ()) -> list[tuple]:
    """Return the way to each value inside of dictionaries and lists."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [before, *(place for key, value in items for place in places(value, (*before, key)))]


@st.composite
def changed(draw: Callable, content: Any) -> Any:
    """Plain data with some of its values replaced, keys taken away, or new ones added."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(places(content)))
        if not way:
            if draw(st.integers(0, 9)) == 0:
                return draw(values())
            continue
        inside = content
        for key in way[:-1]:
            inside = inside[key]
        how = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
        if how == "replace":
            inside[way[-1]] = draw(values())
        elif how == "remove":
            del inside[way[-1]]
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(HOSTILE_TEXTS))] = draw(values())
        else:
            inside.append(draw(values()))
    return content


def encoded(text: str) -> bytes:
    """UTF-8, whatever is in the text."""
    return text.encode("utf-8", "surrogatepass")


def yaml_texts() -> st.SearchStrategy[bytes]:
    """Recipes: changed values, broken bytes, and what YAML can do beyond values."""
    from debft.config.packaged import recipe_names, recipe_path
    from debft.config.reading import load_recipe
    from debft.config.recipe import to_dict

    whole = [to_dict(load_recipe(recipe_path(name))) for name in recipe_names()[::8]]
    text = yaml.safe_dump(whole[0]).encode()
    return st.one_of(
        st.sampled_from(whole).flatmap(changed).map(lambda content: encoded(yaml.safe_dump(content, allow_unicode=True))),
        st.sampled_from(whole).flatmap(changed).map(lambda content: encoded(json.dumps(content))),
        broken(text),
        st.sampled_from(HOSTILE_YAML).map(str.encode),
        st.binary(max_size=60),
    )
