"""What several flags of another program make together of the way of a run: steps, evaluations, best weights, precision."""

from debft.cli.foreign.imported import Imported, Typed, first_value, parsed, whole
from debft.cli.foreign.launchers import Call
from debft.errors import one_of
from debft.tasks import TASKS, TEXT, QuestionAnswering, Task
from debft.tasks.task import LOSS

NO_CLIPPING = 1e9  # a norm that no gradient reaches
DEFAULT_LOGGING = "500"  # steps; transformers TrainingArguments.logging_steps
METRICS = {"exact": "exact_match"}  # names of run_qa.py's metrics that differ from ours


def steps(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take --max_steps (-1 is none), the warm-up in steps or as a ratio (steps win), clipping, and the repository's schedule."""
    if (steps := first_value(given, "max_steps")) and steps[1] != "-1":
        found.put("train.max_steps", parsed(steps[1]), steps[0])
    warmup, ratio = first_value(given, "warmup_steps"), first_value(given, "warmup_ratio")
    if warmup and (not ratio or warmup[1] != "0"):
        found.put("train.warmup_steps", parsed(warmup[1]), warmup[0])
    if ratio and warmup and warmup[1] != "0":
        found.note("unused", ratio[0], "--warmup_steps wins over it, as there")
    elif ratio:
        found.put("train.warmup_steps", parsed(ratio[1]), ratio[0], "a number below 1 is that fraction of the run")
    if call.program != "DeBERTa.apps.run" and (clip := first_value(given, "max_grad_norm")):
        value = parsed(clip[1])
        found.put("train.max_grad_norm", value or NO_CLIPPING, clip[0], "" if value else "0 is no clipping there")
    if schedule := first_value(given, "lr_schedule"):
        names = {"warmup_linear": "linear_unshifted", "warmup_linear_shift": "linear"}
        if schedule[1] in names:
            found.put("train.schedule", names[schedule[1]], schedule[0])
        else:
            found.problems.append(
                f"{schedule[0]}: debft's rate falls linearly after the warm-up, no other way; take it away to import the rest"
            )


def evaluations(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take the rhythm of evaluations and of checkpoints."""
    strategy = first_value(given, "eval_strategy", "evaluation_strategy")
    during = "evaluate_during_training" in given and given["evaluate_during_training"].is_on()
    every, logged = first_value(given, "eval_steps"), first_value(given, "logging_steps")
    if strategy and "evaluation_strategy" in given:
        found.note("gone", strategy[0].split()[0], "is eval_strategy in transformers 5")
    if (strategy and strategy[1] == "steps") or during:
        what, value = every or logged or ("default of " + call.program, DEFAULT_LOGGING)
        why = "evaluations follow --logging_steps where no --eval_steps is given" if not every else ""
        found.put("train.eval_steps", parsed(value), what, why)
    elif strategy and strategy[1] == "epoch":
        found.put("train.eval_each_epoch", True, strategy[0])
    elif strategy and strategy[1] != "no":
        found.problems.append(f"{strategy[0]}: expected one of no, steps, epoch")
    if every and not ((strategy and strategy[1] == "steps") or during):
        found.note("unused", every[0], "without --eval_strategy steps it does nothing there")
    if logged and "train.eval_steps" not in found.values:
        found.note("unused", logged[0], "each step is logged, in steps.jsonl")
    saving, steps = first_value(given, "save_strategy"), first_value(given, "save_steps", "checkpointing_steps")
    if saving and saving[1] == "no":
        found.put("runtime.save_steps", None, saving[0])
    elif (saving and saving[1] != "steps") or (steps and whole(steps[1]) is None):
        typed = saving or steps
        found.note("lost", typed[0] if typed else "", "checkpoints come every N steps, --save-steps; no score depends on it")
    elif steps:
        found.put("runtime.save_steps", whole(steps[1]), steps[0])


def best_weights(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take which weights are kept: without a metric those of the lowest loss, and of MNLI by the matched rows alone, as there."""
    metric, greater = first_value(given, "metric_for_best_model"), given.get("greater_is_better")
    if "load_best_model_at_end" not in given or not given["load_best_model_at_end"].is_on():
        for typed in (metric[0] if metric else "", greater.shown() if greater else ""):
            if typed:
                found.note("unused", typed, "without --load_best_model_at_end it keeps nothing there")
        return
    what = metric[0] if metric else "--load_best_model_at_end"
    found.put("train.checkpoint", "best", "--load_best_model_at_end")
    name = metric[1].removeprefix("eval_") if metric else LOSS
    if greater and greater.is_on() == (name == LOSS):
        found.problems.append(f"{greater.shown()}: keeps the worst weights by {name}; take it away to import the rest")
    if name == "combined_score":
        found.note("set", what, "the mean of the task's scores, which debft takes without --metric")
    elif task := TASKS.get(found.values.get("task", "")):
        _best_by(METRICS.get(name, name), what, task, found)


def _best_by(name: str, what: str, task: Task, found: Imported) -> None:
    """Set the metric, where the task has it. Of one's own rows that shows when they are read."""
    known = [*task.metrics, *([] if isinstance(task, QuestionAnswering) else [LOSS])]
    if name not in known and task is not TEXT:
        found.problems.append(f"{what}: debft keeps the best weights of {task.title} by {one_of(known)}; name one of these")
    else:
        found.put("train.metric", f"validation_matched/{name}" if task.name == "mnli" else name, what)


def precision(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take fp16 or bf16; without either the scripts compute in float32, and debft in what the GPU has."""
    for name in ("fp16", "bf16"):
        if name in given and given[name].is_on():
            found.put("runtime.precision", name, given[name].shown())
            return
    if "fp16" in given and call.program == "DeBERTa.apps.run":
        found.put("runtime.precision", "fp32", given["fp16"].shown())
    elif call.precision:
        found.put("runtime.precision", call.precision, "--mixed_precision")
    else:
        found.note(
            "say",
            "",
            "no --fp16 or --bf16: the script computes in float32, debft in bf16 on GPUs that have it; --precision fp32 too",
        )
