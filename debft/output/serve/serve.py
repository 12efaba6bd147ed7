"""A model is served: loaded, tried once, and then asked over HTTP."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from debft.console import say, say_field
from debft.data.examples import Examples
from debft.errors import MachineError
from debft.output.serve.about import about
from debft.output.serve.app import Service, build_app
from debft.output.serve.asking import read_asked
from debft.output.serve.batching import Batcher, Rows
from debft.output.serve.hosts import Hosts, host_name, is_of_this_machine
from debft.output.serve.page import build_page
from debft.output.serve.server import Place, answer_until_told
from debft.output.use import describe_device
from debft.runtime.memory import is_out_of_memory
from debft.runtime.progress import activity
from debft.scoring.inference import label_rows
from debft.scoring.loading import load_used
from debft.scoring.predictor import Predictor
from debft.scoring.used_model import UsedModel
from debft.scoring.zero_shot import Labels, label_freely


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a server takes on.

    batch: texts of one forward pass
    waiting: texts that may wait for theirs
    seconds: after which a request gets no answer
    """

    batch: int = 32
    waiting: int = 1024
    seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Labeller:
    """A labeller lets a model label rows without a line for people."""

    predictor: Predictor

    def __call__(self, examples: Examples, *, labels: Labels | None, unwanted: Callable[[], bool]) -> Rows:
        """Return a row for each example. Raises Unwanted, or a DebftError where the model cannot do it."""
        predictor = replace(self.predictor, show=False, unwanted=unwanted)
        try:
            return list(label_rows(predictor, examples) if labels is None else label_freely(predictor, examples, labels))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise MachineError(f"{len(examples):,} rows: the memory is not enough; give a smaller --max-batch") from error


def serve(
    used: UsedModel,
    place: Place,
    *,
    precision: str,
    attention: str,
    limits: Limits,
    names: tuple[str, ...] = (),
    ready: Callable[[dict[str, Any]], None] = lambda content: None,
) -> None:
    """Load the model, and answer at `place` until a signal comes; then raise Interrupted.

    names: hosts that may be asked beside addresses and localhost
    ready: called with what GET /info says and the address, as soon as the server answers
    Raises InputError or MachineError where the model cannot be used.
    """
    with activity("loading the model"):
        predictor = load_used(used, precision, attention)
    describe_device(predictor.accelerator.device, predictor.precision, predictor.loaded.attention)
    service = build_service(used, predictor, limits, Hosts(names=frozenset(map(host_name, (place.host, *names)))))
    place.socket.listen()
    say_field("address", place.address, whole=True)
    if not is_of_this_machine(place.socket.getsockname()[0]):
        say(f"warning: other machines reach this server through {place.host}; it asks for no password and encrypts nothing")
    say("Ctrl-C ends it; lines below are requests, without their texts")
    ready(service.info | {"address": place.address})
    try:
        answer_until_told(build_app(service), place, service.batcher.close)
    finally:
        service.batcher.close()


def build_service(used: UsedModel, predictor: Predictor, limits: Limits, hosts: Hosts) -> Service:
    """Return the service of a model, which has answered once by then. Raises what the model raises."""
    info, label = about(used, predictor), Labeller(predictor=predictor)
    with activity("trying the model"):
        label(_trial(used), labels=None, unwanted=lambda: False)
    batcher = Batcher(label=label, most_rows=limits.batch, most_waiting=limits.waiting)
    limited = {"max_batch": limits.batch, "max_waiting": limits.waiting, "timeout": limits.seconds}
    return Service(task=used.task, batcher=batcher, info=info | limited, page=build_page(info), hosts=hosts, seconds=limits.seconds)


def _trial(used: UsedModel) -> Examples:
    """Return one row of the task."""
    return read_asked(json.dumps([dict.fromkeys(used.task.text_keys, "a")]).encode(), used.task).examples
