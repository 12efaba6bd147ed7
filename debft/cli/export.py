"""`debft export`: a trained model becomes one that runs without torch."""

from typing import Annotated

import typer

from debft.cli.arguments import Data, Encoding, RunOrModel, Task
from debft.cli.options import name_or_path
from debft.cli.stdout import print_json
from debft.console import say_field
from debft.errors import InputError
from debft.runtime.extras import check_extra


def export(
    run_or_model: RunOrModel,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, the form that there is so far.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write a model of 8-bit weights as well: what it loses, how fast it is.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            help="A new or empty directory (default: onnx in that of the run).", show_default=False, callback=name_or_path
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write an export that is there anew.")] = False,
    task: Task = None,
    data: Data = None,
    encoding: Encoding = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what export.json holds on stdout.")] = False,
) -> None:
    """Write a model that runs without torch, if it answers every dev row as debft does (needs the extra export)."""
    if not onnx:
        raise InputError(f"debft export {run_or_model}: expected a form to write, got none; give --onnx")
    check_extra("export", "debft export")
    from debft.data.examples import say_notes, say_skipped
    from debft.output.onnx.place import place_of
    from debft.output.onnx.printed import describe_long_texts, print_export
    from debft.output.use import describe_use
    from debft.scoring.rows import find_rows
    from debft.scoring.used_model import find_used_model

    used = find_used_model(run_or_model, task)
    place = place_of(used, output, overwrite=overwrite)
    skip, limit = used.recipe.train.skip_bad_rows, used.limit_of(data)
    examples = find_rows(used.task, used.trained_on, data, limit, skip=skip, encoding=encoding)
    describe_use(used, used.source_of(data), examples)
    describe_long_texts(used.task, used.recipe)
    say_notes(examples.values())
    say_skipped(examples)
    from debft.output.onnx.export import export_model

    content = export_model(used, examples, place, int8=int8)
    say_field("export", str(place))
    print_json(content) if as_json else print_export(content, used.task, place)
