"""The page of a served model in a real browser: it is filled in, the button is pressed, and the label is there."""

import threading
import time
from dataclasses import replace

import pytest
from browser import SECONDS

from debft.output.serve.app import Service, build_app
from debft.output.serve.batching import Batcher
from debft.output.serve.page import build_page
from debft.output.serve.server import build_server, taken
from debft.tasks import TASKS

HOSTILE = "<script>alert(1)</script><img src=x onerror=\"document.title='hit'\"> {{ 7 * 7 }} \"'&amp; " + "w" * 300
INFO = {
    "title": "MNLI",
    "texts": ["premise", "hypothesis"],
    "gives": "labels",
    "labels": ["entailment", "neutral", HOSTILE],
    "takes_labels": True,
    "model": f"a model {HOSTILE}",
    "recipe": "0123456789abcdef",
    "max_seq_length": 64,
    "scores": [{"title": f"MNLI-m {HOSTILE}", "score": 88.125, "interval": [87.5, 88.75], "rows": 9815}],
    "device": "cpu",
    "precision": "fp32",
    "debft": "1",
}
# JavaScript of this module: elements that reach over the right edge.
TOO_WIDE = (
    "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
)
SHOWN = "document.querySelector('#rows output').innerText"


def label(examples, *, labels, unwanted):
    """The label is the last text: what comes back is what was typed."""
    if labels is not None:
        best = list(labels.names) if labels.several else labels.names[0]
        scores = {name: round(1 / (i + 2), 6) for i, name in enumerate(labels.names)}
        return [{"id": identity, "prediction": best, "scores": scores} for identity in examples.ids]
    return [
        {"id": identity, "prediction": texts[-1], "scores": {"entailment": 0.25, texts[-1]: 0.75}}
        for identity, texts in zip(examples.ids, examples.texts, strict=True)
    ]


def answer_with(row):
    return lambda examples, *, labels, unwanted: [row for _ in examples.ids]


@pytest.fixture(scope="module")
def served():
    """The address of a server that has such a page; what it answers with can be changed."""
    service = Service(
        task=TASKS["mnli"], batcher=Batcher(label=label, most_rows=8, most_waiting=8), info=INFO, page=build_page(INFO)
    )
    with taken("127.0.0.1", 0) as place:
        server = build_server(build_app(service), service.batcher.close)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place.socket]})
        thread.start()
        place.socket.listen()
        yield place.address, service
        server.should_exit = True
        thread.join(SECONDS)


def until(browser, expression):
    """Wait until JavaScript gives something true."""
    deadline = time.monotonic() + SECONDS
    while not (value := browser.evaluate(expression)):
        assert time.monotonic() < deadline, f"{expression} stays {value!r}: {browser.evaluate('document.body.innerText')}"
    return value


def typed(browser, selector, text):
    browser.evaluate(f"document.querySelector({selector!r}).focus()")
    browser.ask("Input.insertText", text=text)


def press(browser, key, **more):
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)


@pytest.mark.parametrize(("width", "height", "dark"), [(390, 844, False), (1280, 800, True)], ids=["phone", "desk"])
def test_form_shows_the_label_of_what_was_typed(browser, served, width, height, dark):
    address, _ = served
    browser.open(address, width, height, dark)
    typed(browser, "#text-1", "a premise")
    typed(browser, "#text-2", "a label")
    browser.evaluate("document.querySelector('#rows button').click()")
    until(browser, f"{SHOWN}.includes('75.0 %')")
    assert browser.evaluate("document.querySelector('#rows .prediction').textContent") == "a label"
    bars = "[...document.querySelectorAll('#rows li')].map(e => [e.querySelector('.name').textContent, e.querySelector('meter').value])"
    assert browser.evaluate(bars) == [["a label", 0.75], ["entailment", 0.25]]
    assert browser.evaluate("[...document.querySelectorAll('#rows meter')].map(e => e.ariaLabel)") == ["a label", "entailment"]
    assert browser.evaluate(TOO_WIDE) == []
    assert {request.removeprefix(address) for request in browser.requests if not request.startswith("data:")} == {"/", "/predict"}


def test_form_is_used_by_the_keyboard_alone(browser, served):
    browser.open(served[0], 1280, 800)
    assert browser.evaluate("document.activeElement.id") == "text-1"
    browser.ask("Input.insertText", text="one")
    press(browser, "Tab", windowsVirtualKeyCode=9)
    browser.ask("Input.insertText", text="by hand")
    press(browser, "Tab", windowsVirtualKeyCode=9)
    assert browser.evaluate("document.activeElement.textContent") == "Predict"
    press(browser, "Enter", windowsVirtualKeyCode=13, text="\r")
    until(browser, f"{SHOWN}.includes('by hand')")
    browser.evaluate("document.querySelector('#rows output').replaceChildren()")
    browser.evaluate("document.querySelector('#text-2').focus()")
    press(browser, "Enter", windowsVirtualKeyCode=13, modifiers=2)
    until(browser, f"{SHOWN}.includes('by hand')")
    named = "[...document.querySelectorAll('textarea, input')].every(e => e.labels.length === 1)"
    assert browser.evaluate(named)


def test_labels_and_texts_are_shown_as_they_are_and_never_run(browser, served):
    browser.open(served[0], 390, 844)
    typed(browser, "#text-2", HOSTILE)
    browser.evaluate("document.querySelector('#rows button').click()")
    until(browser, f"{SHOWN}.includes('75.0 %')")
    assert browser.evaluate("document.querySelector('#rows .prediction').textContent") == HOSTILE
    assert browser.evaluate("document.title").startswith("MNLI by a model <script>")
    assert HOSTILE in browser.evaluate("document.querySelector('header').textContent")
    assert browser.evaluate("[document.images.length, document.scripts.length]") == [0, 1]
    assert browser.evaluate(TOO_WIDE) == []


def test_script_and_style_from_elsewhere_are_kept_out(browser, served):
    browser.open(served[0], 390, 844)
    made = """(() => { const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s);
      const i = document.createElement('div'); i.innerHTML = '<b onclick="window.hit = 1">x</b>'; document.body.append(i);
      i.firstChild.click(); return window.hit === undefined; })()"""
    assert browser.evaluate(made)
    assert browser.evaluate("getComputedStyle(document.querySelector('button')).cursor") == "pointer", "the page lost its style"


def test_labels_of_ones_own_are_chosen_among(browser, served):
    browser.open(served[0], 390, 844)
    typed(browser, "#free-text", "a text")
    typed(browser, "#free-labels", "sport, news")
    browser.evaluate("document.querySelector('#labels button').click()")
    until(browser, "document.querySelector('#labels output').innerText.includes('50.0 %')")
    assert browser.evaluate("document.querySelector('#labels .prediction').textContent") == "sport"
    browser.evaluate("document.querySelector('#labels [type=checkbox]').click()")
    browser.evaluate("document.querySelector('#labels button').click()")
    until(browser, "document.querySelector('#labels .prediction')?.textContent === 'sport, news'")


def test_error_of_the_server_is_shown(browser, served):
    browser.open(served[0], 390, 844)
    typed(browser, "#free-text", "a text")
    typed(browser, "#free-labels", "one")
    browser.evaluate("document.querySelector('#labels button').click()")
    line = "labels: expected two labels or more to choose from, got 'one'"
    until(browser, f"document.querySelector('#labels .wrong')?.textContent.startsWith({line!r})")
    assert browser.evaluate("document.querySelector('#labels button').disabled") is False


def test_error_names_the_field_and_no_line_of_a_request_that_nobody_typed(browser, served):
    browser.open(served[0], 390, 844)
    browser.evaluate("document.querySelector('#text-2').value = '\\ud800'")
    browser.evaluate("document.querySelector('#rows button').click()")
    until(browser, "document.querySelector('#rows .wrong')?.textContent.startsWith('hypothesis: expected text, got half')")


@pytest.mark.parametrize(
    ("row", "text", "shown"),
    [
        (
            {"prediction": "fox", "start": 6, "end": 9, "scores": {"answer": 0.5, "no_answer": 0.25}},
            "the 🦊 fox",
            ["fox", "fox", 2],
        ),
        ({"prediction": "", "start": None, "end": None, "scores": {"answer": 0.1, "no_answer": 0.9}}, "a", ["no answer", None, 2]),
        ({"prediction": 2.34567, "scores": {"score": 2.34567}}, "a", ["2.346", None, 0]),
        ({"prediction": [], "scores": {"a": 0.1, "b": 0.2}}, "a", ["none of the labels", None, 2]),
        ({"prediction": "l1", "scores": {f"l{i}": 1 / (i + 1) for i in range(30)}}, "a", ["l1", None, 20]),
    ],
    ids=["answer", "no answer", "score", "no label", "many labels"],
)
def test_every_kind_of_answer_has_its_form(browser, served, row, text, shown):
    address, service = served
    service.batcher.label = answer_with({"id": "0"} | row)
    try:
        browser.open(address, 390, 844)
        typed(browser, "#text-2", text)
        browser.evaluate("document.querySelector('#rows button').click()")
        until(browser, "document.querySelector('#rows .prediction') !== null")
        parts = """[document.querySelector('#rows .prediction').textContent, document.querySelector('#rows mark')?.textContent ?? null,
          document.querySelectorAll('#rows meter').length]"""
        assert browser.evaluate(parts) == shown
    finally:
        service.batcher.label = label


def test_page_of_a_model_that_infers_nothing_has_one_form():
    page = build_page(INFO | {"takes_labels": False, "texts": ["text"], "recipe": None})
    assert page.html.count("<form") == 1 and page.html.count("<textarea") == 1
    assert replace(page, html=page.html.replace("const MOST_BARS = 20", "const MOST_BARS = 21")).policy != page.policy
