"""The commands that show a model to others: card, push."""

from pathlib import Path
from typing import Annotated

import typer

from debft.cli.options import check_new, name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.console import put, say, say_field
from debft.runtime.progress import activity

_Run = Annotated[str, typer.Argument(help="Directory of a complete run.", metavar="RUN", callback=name_or_path)]
_License = Annotated[
    str | None,
    typer.Option(
        "--license", help="License of the model, as the hub names it, such as mit (default: unknown).", show_default=False
    ),
]


def card(
    run: _Run,
    output: Annotated[
        str | None, typer.Option(help="File to write (default: stdout).", show_default=False, callback=name_or_path)
    ] = None,
    license_name: _License = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print card, metadata and eval results as JSON on stdout.")] = False,
) -> None:
    """Write a model card of a run: scores with their intervals, recipe, digests, limits, licences."""
    import yaml

    from debft.output.card.card import model_card
    from debft.output.card.licences import check_licence
    from debft.output.card.results import eval_results_yaml
    from debft.output.card.subject import subject_of
    from debft.runs.storage import disk_errors, write_atomically

    check_new("--output", output)
    check_licence(license_name)
    subject = subject_of(run)
    made = model_card(subject, license_name=license_name)
    if output is not None:
        with disk_errors(Path(output)):
            write_atomically(Path(output), str(made).encode())
        say_field("card", output)
    if as_json:
        entries = yaml.safe_load(eval_results_yaml(subject) or "[]")
        print_json({"card": str(made), "data": made.data.to_dict(), "eval_results": entries, "output": output})
    elif output is None:
        with until_closed():
            put(str(made))
    if license_name is None:
        say("the card says that the license of the model is unknown; --license says it")


def push(
    run: _Run,
    repo: Annotated[str, typer.Option(help="Repository on the hub, OWNER/NAME; it is made where there is none.")],
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it (default: private).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every file and what is left out, and push nothing.")] = False,
    license_name: _License = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the files as JSON on stdout.")] = False,
) -> None:
    """Push a model with its card to the hub, in one commit, without names of this machine."""
    from debft.output.card.licences import check_licence
    from debft.output.card.push import check_repository, left_out, pushed_files
    from debft.output.card.push import push as push_files
    from debft.output.card.subject import subject_of

    check_repository(repo)
    check_licence(license_name)
    subject = subject_of(run)
    with activity("reading the files"):
        files = pushed_files(subject, repo, license_name)
        described, left = [file.described() for file in files], left_out(subject)
    say_field("repository", f"{repo}, {'public' if public else 'private'}")
    if not as_json:
        for file in described:
            put(f"{file['bytes']:>13,}  {file['sha256']}  {file['name']}{'  (cleaned)' if file['cleaned'] else ''}")
    for name, why in left.items():
        say_field("left out", f"{name}: {why}")
    url = None
    if dry_run:
        say("nothing was pushed (--dry-run)")
    else:
        with activity("pushing"):
            url = push_files(repo, files, public=public, message=f"Add {subject.name}")
        say_field("pushed", url)
    if as_json:
        print_json({"repository": repo, "public": public, "dry_run": dry_run, "files": described, "left_out": left, "url": url})
