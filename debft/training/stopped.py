"""A run that cannot go on as it was asked to ends with what could be saved, and says how to go on."""

from typing import Any

from debft.console import say
from debft.data.encoding import EncodedSplit
from debft.data.text_windows import EncodedTextWindows
from debft.data.windows import EncodedWindows
from debft.errors import DebftError, NotFiniteError, TooLittleMemoryError
from debft.models.finite import in_words
from debft.runs.checkpoint import checkpoints
from debft.runs.files import NOT_FINITE
from debft.runs.storage import DiskError
from debft.runtime.memory import is_out_of_memory
from debft.training.checkpoints import moments, save
from debft.training.guards import EvaluationNotFiniteError, StepNotFiniteError
from debft.training.parallel import broadcast_from_main, run_on_main
from debft.training.session import Session, TrainState
from debft.training.sharding import not_finite_in_all

MOST_SHOWN = 3  # rows of a step in one line


def after_stop(
    session: Session, state: TrainState, error: StepNotFiniteError | EvaluationNotFiniteError | TooLittleMemoryError
) -> DebftError:
    """Save the weights as they were before the step that failed, and return the error with what was saved and how to go on.

    Every process gets here, with the same step.
    """
    run_on_main(session.saving.close)
    if isinstance(error, TooLittleMemoryError):
        saved = _saved(session, state)
        advice = "on a device with more memory"
        if not session.plan.recipe.runtime.checkpoint_activations:
            advice += ", or with --set runtime.checkpoint_activations=true, which takes less"
        return TooLittleMemoryError(*(f"{line}; {_way_on(session, saved, advice)}" for line in error.problems))
    if isinstance(error, EvaluationNotFiniteError):
        return _after_evaluation(session, error)
    broken, words = _not_finite_now(session, state)
    saved = "" if broken else _saved(session, state)
    saved = saved or _newest(session)
    value, rows = None if error.value is None else str(error.value), _rows(session, error)
    content = _content(session, error.step, error.what, value, rows, saved) | {"tensors_not_finite": broken}
    run_on_main(lambda: session.run.write_not_finite(content))
    return NotFiniteError(*([_line(session, error, words, saved)] if session.is_main else []))


def _after_evaluation(session: Session, error: EvaluationNotFiniteError) -> NotFiniteError:
    """Return the error of an evaluation with how to go on: from before its step, whose weights give no scores and are not saved."""
    saved, path = _newest(session), session.run.path
    rows = [{"id": identity} for identity in error.ids]
    run_on_main(lambda: session.run.write_not_finite(_content(session, error.step, f"logits of {error.split}", None, rows, saved)))
    change = f"with a change such as --learning-rate {session.plan.recipe.train.learning_rate / 2:g}"
    way_on = _way_on(session, saved, change)
    if saved and int(saved.rpartition("-")[2]) == error.step:  # the last step, which is saved before it is evaluated
        way_on = f"the same command with --output {path} --overwrite begins again {change}"
    return NotFiniteError(*([f"{error.problems[0]}; all rows are in {path / NOT_FINITE}; {way_on}"] if session.is_main else []))


def _saved(session: Session, state: TrainState) -> str:
    """Save a checkpoint of the last step, and return its name; that of the newest one where this one cannot be written."""
    try:
        if 0 < state.step < session.plan.total_steps:  # that of the last step is there
            save(session, state)
    except DiskError as refused:
        if session.is_main:
            say(f"{refused.refusal}: step {state.step:,} has no checkpoint")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or session.accelerator.num_processes > 1:  # the others are in the middle of it
            raise
    return _newest(session)


def _newest(session: Session) -> str:
    """Return in every process the name of the newest checkpoint, "" where there is none."""
    paths = run_on_main(lambda: checkpoints(session.run.checkpoints))
    return broadcast_from_main(paths[-1].name if paths else "")


def _not_finite_now(session: Session, state: TrainState) -> tuple[dict[str, int], str]:
    """Return what in the weights and in the optimizer's state is not finite, with how many numbers, by name and in words."""
    with session.vocabulary.whole(state.step):
        tensors = session.vocabulary.state_of(session.loaded.model) | moments(session)
        counts = not_finite_in_all(tensors)
        return counts, in_words(tensors, counts) if counts else ""


def _line(session: Session, error: StepNotFiniteError, words: str, saved: str) -> str:
    """Return what people read: what is not finite, in which rows, and how to go on."""
    rows, path = _rows(session, error), session.run.path
    shown = ", ".join(f"{row['id']} ({row['tokens']} tokens)" for row in rows[:MOST_SHOWN])
    more = f" and {len(rows) - MOST_SHOWN:,} more" if len(rows) > MOST_SHOWN else ""
    why = f"; {words}" if words and rows else ""
    rate = session.plan.recipe.train.learning_rate / 2
    precision = ", --precision fp32 or bf16" if session.precision == "fp16" else ""
    advice = f"with a change such as --learning-rate {rate:g}{precision}"
    start = f"; --init-from {path}@{int(saved.rpartition('-')[2])} starts another run from it" if saved else ""
    untouched = "they were so before this step" if words else "the step did not touch the weights"
    what = untouched if rows else "nothing of it is saved"
    batch = f"; its rows are {shown}{more}, all in {path / NOT_FINITE}" if rows else ""
    return f"{error.problems[0]}{why}; {what}{batch}; {_way_on(session, saved, advice)}{start}"


def _way_on(session: Session, saved: str, advice: str) -> str:
    """Return what is there to go on from, and the command."""
    path = session.run.path
    what = f"{session.run.checkpoints / saved} is whole and finite" if saved else "no step was saved"
    return f"{what}: the same command with --output {path} --resume {'goes on' if saved else 'begins again'} {advice}"


def _content(session: Session, step: int, what: str, value: str | None, rows: list[dict[str, Any]], saved: str) -> dict[str, Any]:
    """Return the content of not-finite.json, where no tensor is broken."""
    return {
        "step": step,
        "what": what,
        "value": value,
        "precision": session.precision,
        "rows": rows,
        "tensors_not_finite": {},
        "checkpoint": saved or None,
    }


def _rows(session: Session, error: StepNotFiniteError) -> list[dict[str, Any]]:
    """Return the id of the row of each sequence of the step, with its tokens. A row may have several sequences, its windows."""
    split = session.splits[session.plan.task.train.name]
    lengths, row_S, ids = split.lengths(), _row_of_each(split), session.plan.train.ids
    return [
        {"id": str(ids[int(row_S[one]) if row_S is not None else one]), "tokens": int(lengths[one])}
        for one in error.sequences.tolist()
    ]


def _row_of_each(split: EncodedSplit) -> Any:
    """Return the row of each sequence, None where each row is one."""
    if isinstance(split, EncodedWindows):
        return split.question_W
    return split.row_S if isinstance(split, EncodedTextWindows) else None
