"""`debft serve RUN`: a model that is asked over HTTP."""

import os
import sys
from typing import Annotated, Any

import typer

from debft.cli.arguments import Attention, Precision, RunOrModel, Task
from debft.cli.options import name_or_path
from debft.cli.stdout import print_json
from debft.errors import Interrupted
from debft.runtime.extras import check_extra
from debft.runtime.progress import activity

HOST, PORT = "127.0.0.1", 8000


def serve(
    run_or_model: RunOrModel,
    task: Task = None,
    host: Annotated[
        str, typer.Option(help="Address to answer at; 0.0.0.0 is all of this machine's.", callback=name_or_path)
    ] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to answer at; 0 takes a free one.")] = PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which a browser may ask, beside localhost and addresses (repeatable).", show_default=False),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, max=1000, help="Texts of one forward pass, of all requests together.")] = 32,
    max_waiting: Annotated[int, typer.Option(min=1, help="Texts that may wait; with more, requests are answered by 503.")] = 1024,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds after which a request is answered by 503.")] = 60.0,
    precision: Precision = "auto",
    attention: Attention = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the address and what the model is as JSON on stdout, once it answers.")
    ] = False,
) -> None:
    """Answer over HTTP: a page to try the model, POST /predict, GET /info and /health (needs the extra serve)."""
    check_extra("serve", "debft serve")
    from debft.output.serve.server import taken
    from debft.output.use import describe_model
    from debft.scoring.used_model import find_used_model

    used = find_used_model(run_or_model, task, attention)
    with taken(host, port) as place:
        describe_model(used)
        with activity("loading torch"):
            from debft.output.serve.serve import Limits, serve

        limits = Limits(batch=max_batch, waiting=max_waiting, seconds=timeout)
        try:
            serve(
                used,
                place,
                precision=precision,
                attention=attention,
                limits=limits,
                names=tuple(allow_host or ()),
                ready=_print_ready if as_json else lambda content: None,
            )
        except Interrupted as error:  # the model may still compute what nobody waits for any more: Python would wait for it
            sys.stdout.flush()
            os._exit(error.exit_code)


def _print_ready(content: dict[str, Any]) -> None:
    """Print what is served where, for the program that reads it while the server runs."""
    print_json(content)
    sys.stdout.flush()
