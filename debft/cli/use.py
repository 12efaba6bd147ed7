"""The commands that use what was trained: evaluate, predict, submit."""

from pathlib import Path
from typing import Annotated

import typer

from debft.cli.options import name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.errors import InputError

_RunOrModel = Annotated[
    str,
    typer.Argument(help="Directory of a run, or a fine-tuned model with --task.", metavar="RUN_OR_MODEL", callback=name_or_path),
]
_Task = Annotated[str | None, typer.Option(help="Task of a model that is no directory of a run.", show_default=False)]
_Precision = Annotated[str, typer.Option(help="auto (as the model was trained), fp32, bf16 or fp16.")]
_Attention = Annotated[str, typer.Option(help="auto (the fastest that is there), eager, torch or triton.")]
_Encoding = Annotated[str | None, typer.Option(help="Encoding of text files, such as cp1252 (default: UTF-8).", show_default=False)]
_Rows = Annotated[
    str | None,
    typer.Option(
        help="Where the rows are: hub, demo, a directory or a file (default: as in the run).",
        show_default=False,
        callback=name_or_path,
    ),
]
_Data = Annotated[
    str | None,
    typer.Option(
        help="Where the rows are: hub, demo or a directory (default: as in the run).", show_default=False, callback=name_or_path
    ),
]


def evaluate(
    run_or_model: _RunOrModel,
    task: _Task = None,
    data: _Rows = None,
    max_eval_samples: Annotated[
        int | None, typer.Option(min=1, help="Rows of each split to use, the first ones.", show_default=False)
    ] = None,
    encoding: _Encoding = None,
    precision: _Precision = "auto",
    attention: _Attention = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Score a fine-tuned model on the splits that its run held out, or on the rows of --data."""
    from debft.output.text import interval_text
    from debft.scoring import inference
    from debft.scoring.loading import load_predictor

    result = inference.evaluate(load_predictor(run_or_model, task, precision, attention), data, max_eval_samples, encoding)
    if as_json:
        print_json(result)
        return
    for name, score in result["scores"].items():
        print(f"{name:<36} {score:6.2f} {interval_text(result['intervals'].get(name)):>16}")
    for name, count in result["num_examples"].items():
        print(f"{name:<36} {count:,} rows")
    if result["intervals"]:
        print("[low, high]: 95 % interval, by drawing the rows anew")


def predict(
    run_or_model: _RunOrModel,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="A text, or the two of a pair; or a file: JSONL, JSON, TSV, CSV or Parquet with the task's columns, or .txt with "
            "a text a line (a pair: with a tab between). Left out, or -: stdin, read like a .txt or as JSONL.",
            metavar="[TEXT...|FILE|-]",
            show_default=False,
            callback=name_or_path,
        ),
    ] = None,
    task: _Task = None,
    encoding: _Encoding = None,
    precision: _Precision = "auto",
    attention: _Attention = "auto",
    form: Annotated[str, typer.Option("--format", help="jsonl or tsv.")] = "jsonl",
) -> None:
    """Label texts, or answer questions: print one line per row on stdout, with names and probabilities."""
    from debft.scoring.formats import FORMATS
    from debft.scoring.inputs import examples_to_label
    from debft.scoring.used_model import find_used_model

    if form not in FORMATS:
        raise InputError(f"--format {form}: expected {' or '.join(FORMATS)}")
    used = find_used_model(run_or_model, task)
    examples = examples_to_label(texts or (), used.task, encoding)
    from debft.scoring.inference import label_rows  # torch comes with it, which takes seconds
    from debft.scoring.loading import load_used

    rows = label_rows(load_used(used, precision, attention), examples)
    with until_closed():
        for line in FORMATS[form](rows):
            print(line, flush=True)


def submit(
    runs: Annotated[
        list[str], typer.Argument(help="GLUE runs, one per task, or one SQuAD run.", metavar="RUN...", callback=name_or_path)
    ],
    data: _Data = None,
    output: Annotated[str, typer.Option(help="A new or empty directory.", callback=name_or_path)] = "submission",
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Write them even where rows differ from the benchmark's; the leaderboard refuses those."),
    ] = False,
    precision: _Precision = "auto",
) -> None:
    """Write the files that the GLUE and SQuAD leaderboards take, checked against their rules."""
    from debft.output import leaderboards

    leaderboards.print_submission(leaderboards.submit(runs, data, Path(output), partial=partial, precision=precision))
