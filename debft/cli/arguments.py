"""The arguments and options that several commands share: which model, which rows, and how it computes."""

from typing import Annotated

import typer

from debft.cli.options import name_or_path

RunOrModel = Annotated[
    str,
    typer.Argument(help="Directory of a run, or a fine-tuned model with --task.", metavar="RUN_OR_MODEL", callback=name_or_path),
]
Task = Annotated[str | None, typer.Option(help="Task of a model that is no directory of a run.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(
        help="Where the rows are: hub, demo, a file or a directory (default: as in the run).",
        show_default=False,
        callback=name_or_path,
    ),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of text files, such as cp1252 (default: UTF-8, or as in the run).", show_default=False)
]
Precision = Annotated[str, typer.Option(help="auto (as the model was trained), fp32, bf16 or fp16.")]
Attention = Annotated[str, typer.Option(help="auto (the fastest that is there), eager, torch or triton.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every row, show lengths, cuts and device, compute nothing.")]
