"""What several flags of another program make together: the task, the batch, the rhythm of evaluations, the files, defaults."""

from debft.cli.foreign_flags import programs, table
from debft.cli.import_flags import Imported, Typed, read_flags
from debft.cli.launchers import Call
from debft.cli.shell_text import Script
from debft.config import yaml12
from debft.config.recipe import of_dialect, value_at
from debft.errors import InputError, did_you_mean, shown
from debft.models.names import MODELS, canonical_name
from debft.output.recipes import number
from debft.tasks import TASKS

NO_CLIPPING = 1e9  # a norm that no gradient reaches
DEFAULT_LOGGING = "500"  # steps; transformers TrainingArguments.logging_steps
# The directories of GLUE as it ships, with our names.
SUITES = {
    "MNLI": "mnli",
    "CoLA": "cola",
    "SST-2": "sst2",
    "MRPC": "mrpc",
    "STS-B": "stsb",
    "QQP": "qqp",
    "QNLI": "qnli",
    "RTE": "rte",
    "WNLI": "wnli",
}
FILE_FLAGS = {"train": ("train_file",), "validation": ("validation_file", "predict_file"), "test": ("test_file",)}
FILE_NAMES = {"train": ("train",), "validation": ("validation", "dev", "valid", "val"), "test": ("test",)}


def import_call(call: Call, script: Script) -> Imported:
    """Make values and notes of a call. Raises InputError with a line for everything that cannot be imported."""
    found = Imported(program=programs()[call.program])
    given = read_flags(call.arguments, found, script)
    for make in (_task, _model, _batch, _steps, _evaluations, _best, _precision, _place, _files):
        make(given, call, found)
    _defaults(given, call, found)
    if found.problems:
        raise InputError(*found.problems)
    return found


def _value(given: dict[str, Typed], *names: str) -> tuple[str, str] | None:
    """Return (what was typed, value) of the first of these flags that is given with a value."""
    for name in names:
        if name in given and given[name].values:
            return given[name].shown(), given[name].values[0]
    return None


def _task(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Find the task: by the program, --task_name or the data that it names."""
    if call.program == "run_xnli.py":
        found.values["task"] = "xnli"
        if language := _value(given, "language"):
            if "languages.train_language" not in found.values:
                found.put(
                    "languages.train_language", language[1], language[0], "run_xnli trains on it where no --train_language is given"
                )
            found.note("say", language[0], f"debft evaluates all 15 languages in one run; `--language {language[1]}` for it alone")
    elif call.program in ("run_qa.py", "run_squad.py"):
        _questions(given, found)
    elif typed := _value(given, "task_name"):
        name = typed[1].lower().replace("-", "").removesuffix("mm").rstrip("_")
        if name in TASKS and name not in ("text", "xnli", "squad", "squad2"):
            found.values["task"] = name
            found.note("set", typed[0], f"the task, `debft {name}`")
        else:
            found.problems.append(f"{typed[0]}: no task of GLUE that debft has{did_you_mean(name, TASKS)}")
    elif call.program == "DeBERTa.apps.run":
        found.problems.append("--task_name: expected a task, got none")
    else:
        found.values["task"] = "text"
        found.note("say", "", "no --task_name: the rows are your own, `debft text`")
    if found.values.get("task") == "qnli" and found.program.dialect == "repo":
        found.put("text.swap_texts", True, "QNLI", "the DeBERTa repository reads the sentence first")


def _questions(given: dict[str, Typed], found: Imported) -> None:
    """Tell SQuAD 2.0 from 1.1."""
    version2 = "version_2_with_negative" in given and given["version_2_with_negative"].is_on()
    name = _value(given, "dataset_name")
    known = {"squad": "squad", "squad_v2": "squad2"}.get(name[1].rpartition("/")[2]) if name else None
    if name and not known:
        found.problems.append(f"{name[0]}: debft squad and squad2 read SQuAD's own rows, or files in its format: --data DIR")
    if known == "squad2" and not version2:
        found.note(
            "say",
            name[0] if name else "",
            "without --version_2_with_negative the script would never answer `none`; debft squad2 does",
        )
    if known == "squad" and version2:
        found.problems.append("--version_2_with_negative: squad has no questions without an answer; name squad_v2, or leave it out")
    found.values["task"] = known or ("squad2" if version2 else "squad")
    found.note(
        "set", name[0] if name else "--version_2_with_negative" if version2 else "", f"the task, `debft {found.values['task']}`"
    )


def _model(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Find the model: an alias, a hub id (with the owner that old ones lack) or a directory."""
    typed = _value(given, "model_name_or_path", "init_model")
    if typed is None:
        flag = "--init_model" if call.program == "DeBERTa.apps.run" else "--model_name_or_path"
        found.problems.append(f"{flag}: expected a model, got none")
        return
    name = typed[1].rstrip("/")
    if call.program == "DeBERTa.apps.run":
        name = table()["deberta_models"].get(name.lower(), name)
    owner = next((owner for begin, owner in table()["owners"].items() if name.startswith(begin)), None)
    if owner and "/" not in name and name not in MODELS:
        name = f"{owner}/{name}"
    found.put("model", canonical_name(name), typed[0])


def _batch(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Multiply sequences per device, processes and accumulation into sequences per step."""
    if call.program == "DeBERTa.apps.run":
        return
    device = _value(given, "per_device_train_batch_size", "per_gpu_train_batch_size")
    accumulated = _value(given, "gradient_accumulation_steps")
    numbers = []
    for typed, usual in ((device, found.program.defaults["batch"]), (accumulated, 1)):
        if typed and (not typed[1].isdigit() or int(typed[1]) < 1):
            found.problems.append(f"{typed[0].split()[0]}: expected a whole number of at least 1, got {shown(typed[1])}")
            return
        numbers.append(int(typed[1]) if typed else usual)
    product = f"{numbers[0]} per device x {call.processes} ({call.how})" + (f" x {numbers[1]} accumulated" if accumulated else "")
    what = " ".join(each[0] for each in (device, accumulated) if each) or f"default of {call.program}"
    found.put("train.train_batch_size", numbers[0] * numbers[1] * call.processes, what, f"{product}, sequences per step")
    if numbers[1] > 1:
        text = "debft takes the mean over the step; transformers 5 adds up the parts, DeBERTa's gradient is larger there"
        found.note("say", accumulated[0] if accumulated else "", text)


def _steps(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take --max_steps (-1 is none), the warm-up in steps or as a ratio (steps win), clipping, and the repository's schedule."""
    if (steps := _value(given, "max_steps")) and steps[1] != "-1":
        found.put("train.max_steps", yaml12.parse(steps[1], "--max_steps"), steps[0])
    warmup, ratio = _value(given, "warmup_steps"), _value(given, "warmup_ratio")
    if warmup and (not ratio or warmup[1] != "0"):
        found.put("train.warmup_steps", yaml12.parse(warmup[1], "--warmup_steps"), warmup[0])
    if ratio and warmup and warmup[1] != "0":
        found.note("unused", ratio[0], "--warmup_steps wins over it, as there")
    elif ratio:
        found.put(
            "train.warmup_steps", yaml12.parse(ratio[1], "--warmup_ratio"), ratio[0], "a number below 1 is that fraction of the run"
        )
    if call.program != "DeBERTa.apps.run" and (clip := _value(given, "max_grad_norm")):
        value = yaml12.parse(clip[1], "--max_grad_norm")
        found.put("train.max_grad_norm", value or NO_CLIPPING, clip[0], "" if value else "0 is no clipping there")
    if schedule := _value(given, "lr_schedule"):
        names = {"warmup_linear": "linear_unshifted", "warmup_linear_shift": "linear"}
        if schedule[1] in names:
            found.put("train.schedule", names[schedule[1]], schedule[0])
        else:
            found.problems.append(
                f"{schedule[0]}: debft's rate falls linearly after the warm-up, no other way; take it away to import the rest"
            )


def _evaluations(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take the rhythm of evaluations and of checkpoints."""
    strategy = _value(given, "eval_strategy", "evaluation_strategy")
    during = "evaluate_during_training" in given and given["evaluate_during_training"].is_on()
    every, logged = _value(given, "eval_steps"), _value(given, "logging_steps")
    if strategy and "evaluation_strategy" in given:
        found.note("gone", strategy[0].split()[0], "is eval_strategy in transformers 5")
    if (strategy and strategy[1] == "steps") or during:
        what, value = every or logged or ("default of " + call.program, DEFAULT_LOGGING)
        why = "evaluations follow --logging_steps where no --eval_steps is given" if not every else ""
        found.put("train.eval_steps", yaml12.parse(value, what.split()[0]), what, why)
    elif strategy and strategy[1] == "epoch":
        found.put("train.eval_each_epoch", True, strategy[0])
    elif strategy and strategy[1] != "no":
        found.problems.append(f"{strategy[0]}: expected one of no, steps, epoch")
    if every and not ((strategy and strategy[1] == "steps") or during):
        found.note("unused", every[0], "without --eval_strategy steps it does nothing there")
    if logged and "train.eval_steps" not in found.values:
        found.note("unused", logged[0], "each step is logged, in steps.jsonl")
    saving, steps = _value(given, "save_strategy"), _value(given, "save_steps", "checkpointing_steps")
    if saving and saving[1] == "no":
        found.put("runtime.save_steps", None, saving[0])
    elif (saving and saving[1] != "steps") or (steps and not steps[1].isdigit()):
        typed = saving or steps
        found.note("lost", typed[0] if typed else "", "checkpoints come every N steps, --save-steps; no score depends on it")
    elif steps:
        found.put("runtime.save_steps", int(steps[1]), steps[0])


def _best(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take which weights are kept. Without a metric transformers keeps those of the lowest loss."""
    metric, greater = _value(given, "metric_for_best_model"), given.get("greater_is_better")
    if "load_best_model_at_end" not in given or not given["load_best_model_at_end"].is_on():
        if metric or greater:
            found.note(
                "unused", metric[0] if metric else "--greater_is_better", "without --load_best_model_at_end it keeps nothing there"
            )
        return
    found.put("train.checkpoint", "best", "--load_best_model_at_end")
    name = metric[1].removeprefix("eval_") if metric else "loss"
    lower_is_better = name == "loss"
    if greater and greater.is_on() == lower_is_better:
        found.problems.append(f"{greater.shown()}: keeps the worst weights by {name}; take it away to import the rest")
    if name == "combined_score":
        found.note("set", metric[0] if metric else "", "the mean of the task's scores, which debft takes without --metric")
        return
    names = {"matthews_correlation": "matthews_correlation", "spearmanr": "spearmanr", "exact": "exact_match", "best_f1": "f1"}
    found.put(
        "train.metric",
        names.get(name, name),
        metric[0] if metric else "--load_best_model_at_end",
        "" if metric else "the loss, where no metric is named",
    )
    if found.values.get("task") == "mnli":
        found.note(
            "say",
            "",
            "the script chooses by the matched rows, debft by both splits; `--metric validation_matched/accuracy` for the former",
        )


def _precision(given: dict[str, Typed], call: Call, found: Imported) -> None:
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


def _place(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take where the rows are; say where the run goes. Files are not looked at."""
    if directory := _value(given, "data_dir"):
        path = directory[1].rstrip("/")
        parent, _, last = path.rpartition("/")
        is_of_task = last.lower() in {each.lower() for name in SUITES for each in (name, SUITES[name])}
        found.put(
            "data", (parent or ".") if is_of_task else path, directory[0], "the directory above the task's" if is_of_task else ""
        )
    if (dataset := _value(given, "dataset_name")) and found.values.get("task") == "text":
        found.put("data", dataset[1], dataset[0])
        if subset := _value(given, "dataset_config_name"):
            found.put("own.subset", subset[1], subset[0])
    if "do_regression" in given and found.values.get("task") == "text":
        found.put(
            "own.problem", "regression" if given["do_regression"].is_on() else "classification", given["do_regression"].shown()
        )
    for text in call.lost:
        found.note("lost", text, "its settings are not read; debft starts its processes itself")
    output = _value(given, "output_dir")
    task = found.values.get("task", "TASK")
    where = f" --output {output[1]}" if output else ""
    found.note("say", output[0] if output else "", f"run it with `debft {task} --recipe FILE{where}`")


def _files(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take files of rows: debft reads one file, or a directory with train and validation."""
    typed = {split: _value(given, *flags) for split, flags in FILE_FLAGS.items()}
    files = {split: value[1] for split, value in typed.items() if value}
    if not files:
        return
    what = " ".join(value[0] for value in typed.values() if value)
    folders = {path.rpartition("/")[0] or "." for path in files.values()}
    stems = {split: path.rpartition("/")[2].partition(".")[0].lower() for split, path in files.items()}
    squad = found.values.get("task") in ("squad", "squad2")
    fits = all(stems[split] in FILE_NAMES[split] or (squad and stems[split].startswith(("train-", "dev-"))) for split in files)
    if len(folders) == 1 and fits and len(files) > 1:
        found.put("data", folders.pop(), what, "the directory with these files")
    elif set(files) == {"train"} and not squad:
        found.put("data", files["train"], what, "a tenth of it is held out as validation, --validation says how much")
    else:
        ends = [f"{split}{path[path.rfind('.') :]}" for split, path in files.items()]
        text = f"debft reads one directory with {' and '.join(ends)}: copy the files there under these names, and give --data DIR"
        found.note("lost", what, text)


def _defaults(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Make explicit what the program does by itself and debft would do otherwise."""
    usual = of_dialect("repo" if found.program.dialect == "repo" else "card")
    for key, value in found.program.defaults.items():
        if key == "train.eval_steps" and found.values.get("train.eval_each_epoch"):
            value = None
        if key == "batch" or key in found.values or (key.startswith("questions.") and value == value_at(usual, key)):
            continue
        if value_at(usual, key) != value or key in ("train.learning_rate", "train.num_train_epochs", "text.max_seq_length"):
            found.values[key], found.typed[key] = value, f"default of {call.program}"
            found.note("default", "", f"{key} {number(value)}")

    if "do_train" in found.program.flags and "do_train" not in given and not call.program.endswith("_no_trainer.py"):
        found.note("say", "", "no --do_train: the script would not train; the recipe does")
    if call.program == "run_glue_no_trainer.py" and "train.seed" not in found.values:
        found.note("say", "", f"no --seed: the script draws one; debft's is {value_at(usual, 'train.seed')}")
