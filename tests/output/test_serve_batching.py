"""Requests that arrive together share a forward pass, each gets its own rows, and a full queue says so. No model runs here."""

import asyncio
import json
import threading

import pytest

from debft.errors import MachineError
from debft.output.serve.asking import read_asked
from debft.output.serve.batching import Batcher, BusyError
from debft.scoring.predictor import Unwanted
from debft.scoring.zero_shot import Labels
from debft.tasks import TASKS

SECONDS = 60  # until something that must happen counts as not happening, on a busy machine


def asked(*texts, task="cola", **options):
    body = json.dumps({"rows": [{"sentence": text, "text": text} for text in texts], **options})
    return read_asked(body.encode(), TASKS[task])


class Model:
    """It answers each text with itself, keeps what it was given at once, and waits where it is told to."""

    def __init__(self, wait=None):
        self.passes, self.wait, self.begun, self.labels, self.given_up = [], wait, threading.Event(), [], 0

    def __call__(self, examples, *, labels, unwanted):
        texts = [text for (text,) in examples.texts]
        self.passes.append(texts)
        self.labels.append(labels)
        self.begun.set()
        if self.wait is not None:
            assert self.wait.wait(SECONDS)
        if unwanted():
            self.given_up += 1
            raise Unwanted
        if "bad" in texts:
            raise MachineError("a line of the model")
        return [{"id": identity, "prediction": text} for identity, text in zip(examples.ids, texts, strict=True)]


def batcher(model, rows=8, waiting=100):
    return Batcher(label=model, most_rows=rows, most_waiting=waiting)


def texts_of(rows):
    return [row["prediction"] for row in rows]


def together(batcher, *requests):
    """The answers to requests that are sent at once; an error stands in the place of its answer."""

    async def ask():
        return await asyncio.gather(*map(batcher.answer, requests), return_exceptions=True)

    return asyncio.run(ask())


def test_requests_that_arrive_together_share_one_pass_and_each_gets_its_own_rows():
    model = Model()
    answers = together(batcher(model), asked("a", "b"), asked("c"), asked("d", "e"))
    assert model.passes == [["a", "b", "c", "d", "e"]]
    assert list(map(texts_of, answers)) == [["a", "b"], ["c"], ["d", "e"]]
    assert [row["id"] for row in answers[2]] == ["0", "1"]


def test_pass_takes_no_more_texts_than_it_may():
    model = Model()
    answers = together(batcher(model, rows=3), asked("a", "b"), asked("c", "d"), asked("e"))
    assert all(len(texts) <= 3 for texts in model.passes)
    assert list(map(texts_of, answers)) == [["a", "b"], ["c", "d"], ["e"]]


def test_long_request_lets_a_short_one_have_its_turn():
    model = Model()
    answers = together(batcher(model, rows=2), asked(*"abcdef"), asked("x"))
    assert list(map(texts_of, answers)) == [list("abcdef"), ["x"]]
    assert model.passes.index(["x"]) < len(model.passes) - 1


def test_queue_that_is_full_refuses_and_takes_again_once_there_is_room():
    server = batcher(Model(), waiting=3)

    async def ask():
        first, second = await asyncio.gather(server.answer(asked("a", "b")), server.answer(asked("c", "d")), return_exceptions=True)
        return first, second, await server.answer(asked("e", "f", "g"))

    first, second, third = asyncio.run(ask())
    assert texts_of(first) == ["a", "b"] and isinstance(second, BusyError) and texts_of(third) == ["e", "f", "g"]
    assert server.waiting == 0


def test_labels_of_a_request_count_and_go_with_those_of_the_same_labels_alone():
    model = Model()
    one = asked("a", "b", task="mnli", labels=["x", "y"])
    other = asked("c", task="mnli", labels="x,y,z")
    assert (one.size, other.size) == (4, 3)
    answers = together(batcher(model), one, other, asked("d", task="mnli", labels="x,y"))
    assert sorted(model.passes) == [["a", "b", "d"], ["c"]]
    assert set(model.labels) == {Labels(names=("x", "y")), Labels(names=("x", "y", "z"))}
    assert list(map(texts_of, answers)) == [["a", "b"], ["c"], ["d"]]


def test_rows_that_the_model_cannot_label_fail_alone():
    model = Model()
    answers = together(batcher(model), asked("a"), asked("bad"), asked("c"))
    assert texts_of(answers[0]) == ["a"] and texts_of(answers[2]) == ["c"]
    assert isinstance(answers[1], MachineError)
    assert model.passes[0] == ["a", "bad", "c"]


def test_what_nobody_waits_for_any_more_is_neither_computed_nor_counted():
    go = threading.Event()
    model, unwanted = Model(wait=go), asked("late")
    server = batcher(model, rows=1)

    async def ask():
        first = asyncio.create_task(server.answer(asked("first")))
        await asyncio.to_thread(model.begun.wait, SECONDS)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.answer(unwanted), 0.01)
        counted = server.waiting
        go.set()
        return counted, await first, await server.answer(asked("next"))

    counted, first, following = asyncio.run(ask())
    assert (counted, texts_of(first), texts_of(following)) == (1, ["first"], ["next"])
    assert model.passes == [["first"], ["next"]]


def test_computation_is_given_up_once_its_request_is_gone():
    go = threading.Event()
    model = Model(wait=go)
    server = batcher(model)

    async def ask():
        request = asyncio.create_task(server.answer(asked("a")))
        await asyncio.to_thread(model.begun.wait, SECONDS)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        go.set()
        return await server.answer(asked("b"))

    assert texts_of(asyncio.run(ask())) == ["b"]
    assert model.given_up == 1
