"""A trained run leaves the model, the predictions, and last the result."""

from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from debft.config.recipe import source_kind, value_at, with_values
from debft.data.encoding import whole_lengths
from debft.errors import NotFiniteError
from debft.models.finite import in_words, not_finite
from debft.models.settings import SETTINGS, use_settings
from debft.models.shards import Tensors, on_main
from debft.models.tokens.tokenizer_json import save_tokenizer
from debft.published.comparison import beside_published, why_not_compared
from debft.runs.analysis import Analysis
from debft.runs.environment import command_line
from debft.runs.result import EarlyStop, RowsOfRun, RunResult, Timing
from debft.runs.storage import whole_directory
from debft.runs.written import WrittenFile, files_of
from debft.runtime.memory import peak_memory_bytes
from debft.runtime.signals import SECONDS_TO_SAVE, StopRequest
from debft.scoring.analysis import analysis_of
from debft.scoring.evaluation import scores_of
from debft.scoring.heads import Assessment
from debft.scoring.intervals import intervals_of
from debft.training.collapse import collapse_warnings
from debft.training.describe import describe_chosen, lengths_of
from debft.training.evaluations import stopped_early
from debft.training.parallel import broadcast_from_main, run_on_main
from debft.training.session import Session, TrainState


def write_result(session: Session, state: TrainState, assessed: dict[str, Assessment], stop: StopRequest) -> RunResult:
    """Write model, predictions, analysis and, last, result.json, each whole before the next: a run without it is not complete."""
    stop.watch.alive(SECONDS_TO_SAVE)
    result = _result(session, state, assessed)
    weights = on_main(session.vocabulary.state_of(session.loaded.model))
    return broadcast_from_main(run_on_main(lambda: _write(session, assessed, result, weights)) or result)


def _result(session: Session, state: TrainState, assessed: dict[str, Assessment]) -> RunResult:
    """Return the result of the run, without the files of its model."""
    plan, recipe, task = session.plan, session.plan.recipe, session.plan.task
    scores = scores_of(task, assessed)
    num_rows = {name: len(examples) for name, examples in plan.examples.items()}
    changed = [key for key, value in state.optimisation.items() if value != value_at(recipe, key)]
    recipe = with_values(recipe, state.optimisation)  # as the run began; what was changed on the way is in its sessions
    reason = why_not_compared(recipe, task, num_rows)
    if reason is None and changed:
        reason = f"not the published recipe: {', '.join(changed)} was changed on the way"
    return RunResult(
        task=task.name,
        model=recipe.model or "",
        status="complete",
        scores=scores,
        published=[] if reason else beside_published(recipe, task, scores),
        not_compared=reason,
        num_examples={split.name: num_rows[split.name] for split in task.evals},
        num_train_examples=len(plan.train),
        num_tokens=state.num_tokens,
        steps=state.step,
        stopped_early=_early_stop(session, state),
        timing=Timing(
            train_seconds=state.train_seconds,
            eval_seconds=state.eval_seconds,
            examples_per_second=state.num_examples / state.train_seconds,
            tokens_per_second=state.num_tokens / state.train_seconds,
        ),
        peak_memory_bytes=peak_memory_bytes(),
        data=RowsOfRun(
            source=plan.own.source if plan.own is not None else source_kind(recipe.data),
            fingerprints=plan.fingerprints,
            skipped_rows=plan.skipped_rows,
            held_out=plan.own.held_out if plan.own is not None else None,
            warnings=plan.warnings,
            lengths={name: lengths_of(split) for name, split in session.splits.items()},
        ),
        recipe=asdict(recipe),
        label_counts=plan.label_counts,
        started=session.started.isoformat(timespec="seconds"),
        command=command_line(),
        environment=state.sessions[-1].environment if state.sessions else {},
        sessions=state.ended_sessions() if len(state.sessions) > 1 else [],
        paths=session.paths,
        memory_cuts=state.cuts,
        overflows=None if session.accelerator.scaler is None else state.overflows,
        weights=plan.weights if session.accelerator.is_main_process else {},
    )


def _early_stop(session: Session, state: TrainState) -> EarlyStop | None:
    """Return where and why the run ended before its last step; None where it did not."""
    if not (reason := stopped_early(session, state)):
        return None
    return EarlyStop(step=state.step, of=session.plan.total_steps, best_step=state.best_step, reason=reason)


def _write(session: Session, assessed: dict[str, Assessment], result: RunResult, weights: Tensors) -> RunResult:
    """Write everything, with these weights of the model, and return the result as it was written, with the files of the model."""
    chosen = {key: value for assessment in assessed.values() for key, value in assessment.settings.items()}
    intervals = intervals_of(session.plan.task, assessed)
    describe_chosen(chosen)
    result = replace(result, model_files=save_model(session, chosen, weights), intervals=intervals)
    for name, assessment in assessed.items():
        session.run.write_predictions(name, assessment.rows, assessment.files)
    session.run.write_analysis(_analysis(session, assessed))
    session.run.logs.sync()
    losses = [row["loss"] for row in session.run.logs.rows("steps.jsonl")]
    result = replace(result, warnings=collapse_warnings(session.plan, assessed, losses))
    result = replace(result, finished=datetime.now(UTC).isoformat(timespec="seconds"), run_files=session.run.files_written())
    session.run.write_result(result)
    return result


def _analysis(session: Session, assessed: dict[str, Assessment]) -> Analysis:
    """Return what the predictions of each split get wrong."""
    plan, text = session.plan, session.plan.recipe.text

    def tokens_of(texts: list[tuple[str, ...]]) -> list[tuple[int, bool]]:
        lengths = whole_lengths(texts, session.loaded.tokenizer)
        return [(length, length > text.max_seq_length and text.long_texts == "cut") for length in lengths]

    return Analysis(
        splits={name: analysis_of(plan.task, one.rows, plan.examples[name], tokens_of) for name, one in assessed.items()}
    )


def save_model(session: Session, chosen: dict[str, Any], weights: Tensors) -> dict[str, WrittenFile]:
    """Write a plain transformers directory, whole or not at all, and return bytes and sha256 of its files by name.

    It opens with debft uninstalled, and AutoTokenizer gives the same tokens. Its config.json carries under `debft` what it takes
    to use the model; `chosen` is the part of it that was chosen on the dev data.
    """
    model = session.accelerator.unwrap_model(session.model, keep_fp32_wrapper=False)
    if counts := not_finite(weights):
        raise NotFiniteError(f"{session.run.model}: {in_words(weights, counts)}; the model is not saved")
    recipe = with_values(session.plan.recipe, {"runtime.precision": session.precision})
    setattr(model.config, SETTINGS, use_settings(session.plan.task, recipe) | chosen)
    with whole_directory(session.run.model) as folder:
        model.save_pretrained(folder, state_dict=weights)
        _let_be_read(folder)
        save_tokenizer(session.loaded.tokenizer, folder)
        return files_of(folder)


def _let_be_read(folder: Path) -> None:
    """Give the weights, which safetensors keeps for the owner alone, the mode of the other files, which follows the umask."""
    mode = (folder / "config.json").stat().st_mode & 0o777
    for path in folder.glob("*.safetensors"):
        with suppress(PermissionError):  # a file system without modes
            path.chmod(mode)
