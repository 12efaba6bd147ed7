"""The commands that use what was trained: evaluate, predict, submit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debft.cli.arguments import Attention, Data, DryRun, Encoding, Precision, RunOrModel, Task
from debft.cli.options import name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.console import put, say
from debft.errors import InputError
from debft.runtime.progress import activity

if TYPE_CHECKING:
    from debft.data.examples import Examples
    from debft.scoring.used_model import UsedModel

NOTHING = "no model ran, nothing"


def evaluate(
    run_or_model: RunOrModel,
    task: Task = None,
    data: Data = None,
    max_eval_samples: Annotated[
        int | None, typer.Option(min=1, help="Rows of each split to use, the first ones.", show_default=False)
    ] = None,
    encoding: Encoding = None,
    precision: Precision = "auto",
    attention: Attention = "auto",
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout.")] = False,
) -> None:
    """Score a fine-tuned model on the splits that its run held out, or on the rows of --data."""
    from debft.data.examples import say_notes, say_skipped
    from debft.output.use import describe_device, describe_use, preview, print_scores
    from debft.scoring.rows import find_rows
    from debft.scoring.used_model import find_used_model

    used = find_used_model(run_or_model, task, attention)
    examples = find_rows(
        used.task, used.trained_on, data, max_eval_samples, skip=used.recipe.train.skip_bad_rows, encoding=encoding
    )
    describe_use(used, used.source_of(data), examples)
    say_notes(examples.values())
    say_skipped(examples)
    if max_eval_samples is None and (limit := used.limit_of(data)):
        say(f"the run was scored on the first {limit:,} rows of each split, here all are; --max-eval-samples {limit} takes those")
    if dry_run:
        lengths = preview(used, examples, precision, attention)
        if as_json:
            print_json({"task": used.task.name, "data": used.source_of(data), "splits": lengths})
        say(f"{NOTHING} was scored (--dry-run)")
        return
    with activity("loading the model"):  # torch comes with it, which takes seconds
        from debft.scoring.inference import evaluate_rows
        from debft.scoring.loading import load_used

        predictor = load_used(used, precision, attention)
    describe_device(predictor.accelerator.device, predictor.precision, predictor.loaded.attention)
    result = evaluate_rows(predictor, examples, used.source_of(data))
    print_json(result) if as_json else print_scores(result)


def predict(
    run_or_model: RunOrModel,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="A text, or the two of a pair; or a file: JSONL, JSON, TSV, CSV or Parquet with the task's columns, or .txt with "
            "a text a line (a pair: with a tab between). Left out, or -: stdin, read like a .txt or as JSONL.",
            metavar="[TEXT...|FILE|-]",
            show_default=False,
        ),
    ] = None,
    task: Task = None,
    encoding: Encoding = None,
    precision: Precision = "auto",
    attention: Attention = "auto",
    form: Annotated[str, typer.Option("--format", help="jsonl or tsv.")] = "jsonl",
    with_texts: Annotated[bool, typer.Option("--texts", help="Print the texts of each row as well.")] = False,
    labels: Annotated[
        str | None,
        typer.Option(help="Zero-shot: choose among these labels, a,b,c, with a model of MNLI, XNLI or RTE.", show_default=False),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Hypothesis of --labels, {} for the label (default: This example is {}.)", show_default=False)
    ] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Any number of --labels for a text, not one.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Label texts, or answer questions: print one line per row on stdout, with names and probabilities."""
    from debft.scoring import zero_shot
    from debft.scoring.formats import FORMATS, beside_texts
    from debft.scoring.inputs import examples_to_label
    from debft.scoring.used_model import find_used_model

    if form not in FORMATS:
        raise InputError(f"--format {form}: expected {' or '.join(FORMATS)}")
    chosen = zero_shot.labels_of(labels, template, multi_label)
    if chosen is None:
        used = find_used_model(run_or_model, task, attention)
        usual = used.trained_on.encoding if used.trained_on is not None else None
        examples = examples_to_label(texts or (), used.task, encoding, usual)
    else:
        used = zero_shot.find_inference_model(run_or_model, task, attention)
        examples = examples_to_label(texts or (), zero_shot.task_of_texts(), encoding, any_column=True)
    if dry_run:
        _preview_labels(used, examples if chosen is None else zero_shot.pairs(examples, chosen), precision, attention)
        return
    with activity("loading the model"):  # torch comes with it, which takes seconds
        from debft.scoring.inference import label_rows
        from debft.scoring.loading import load_used

        predictor = load_used(used, precision, attention)
    rows = label_rows(predictor, examples) if chosen is None else zero_shot.label_freely(predictor, examples, chosen)
    with until_closed():
        for line in FORMATS[form](beside_texts(rows, examples.texts) if with_texts else rows):
            put(line, flush=True)


def _preview_labels(used: "UsedModel", examples: "Examples", precision: str, attention: str) -> None:
    """Say what would be labelled, by what, and how long it is."""
    from debft.output.use import describe_use, preview

    describe_use(used, examples.source, {"": examples})
    preview(used, {"": examples}, precision, attention)
    say(f"{NOTHING} was labelled (--dry-run)")


def submit(
    runs: Annotated[
        list[str], typer.Argument(help="GLUE runs, one per task, or one SQuAD run.", metavar="RUN...", callback=name_or_path)
    ],
    data: Data = None,
    output: Annotated[str, typer.Option(help="A new or empty directory.", callback=name_or_path)] = "submission",
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Write them even where rows differ from the benchmark's; the leaderboard refuses those."),
    ] = False,
    precision: Precision = "auto",
    dry_run: DryRun = False,
) -> None:
    """Write the files that the GLUE and SQuAD leaderboards take, checked against their rules."""
    from debft.output import leaderboards

    leaderboards.print_submission(
        leaderboards.submit(runs, data, Path(output), partial=partial, precision=precision, dry_run=dry_run)
    )
