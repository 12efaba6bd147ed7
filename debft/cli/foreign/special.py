"""What several flags of another program make together: the task, the batch, the rhythm of evaluations, the files, defaults."""

from debft.cli.foreign.flags import programs, table
from debft.cli.foreign.imported import Imported, Typed, first_value, read_flags, whole
from debft.cli.foreign.launchers import Call
from debft.cli.foreign.rhythm import best_weights, evaluations, precision, steps
from debft.cli.foreign.shell_text import Script
from debft.config.dialects import of_dialect
from debft.config.recipe import value_at
from debft.errors import InputError, did_you_mean, shown
from debft.models.names import MODELS, canonical_name
from debft.output.recipes import number
from debft.tasks import TASKS

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
    for make in (_task, _model, _batch, steps, evaluations, best_weights, precision, _place, _files):
        make(given, call, found)
    if found.values.get("task") != "text":
        _without_own(found)
    _defaults(given, call, found)
    if found.problems:
        raise InputError(*found.problems)
    _rest(given, found)
    return found


def _task(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Find the task: by the program, --task_name or the data that it names."""
    if call.program == "run_xnli.py":
        found.values["task"] = "xnli"
        if language := first_value(given, "language"):
            if "languages.train_language" not in found.values:
                found.put(
                    "languages.train_language", language[1], language[0], "run_xnli trains on it where no --train_language is given"
                )
            found.note("say", language[0], f"debft evaluates all 15 languages in one run; `--language {language[1]}` for it alone")
    elif call.program in ("run_qa.py", "run_squad.py"):
        _questions(given, found)
    elif typed := first_value(given, "task_name") or _suite(given):
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


def _suite(given: dict[str, Typed]) -> tuple[str, str] | None:
    """Return the task of `--dataset_name glue --dataset_config_name rte`."""
    name, subset = first_value(given, "dataset_name"), first_value(given, "dataset_config_name")
    return (f"{name[0]} {subset[0]}", subset[1]) if name and subset and name[1].rpartition("/")[2] == "glue" else None


def _questions(given: dict[str, Typed], found: Imported) -> None:
    """Tell SQuAD 2.0 from 1.1."""
    version2 = "version_2_with_negative" in given and given["version_2_with_negative"].is_on()
    name = first_value(given, "dataset_name")
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
    typed = first_value(given, "model_name_or_path", "init_model")
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
    device = first_value(given, "per_device_train_batch_size", "per_gpu_train_batch_size")
    accumulated = first_value(given, "gradient_accumulation_steps")
    numbers = []
    for typed, usual in ((device, found.program.defaults["batch"]), (accumulated, 1)):
        if typed is None:
            numbers.append(usual)
        elif count := whole(typed[1]):
            numbers.append(count)
        else:
            found.problems.append(f"{typed[0].split()[0]}: expected a whole number of at least 1, got {shown(typed[1])}")
            return
    product = f"{numbers[0]} per device x {call.processes} ({call.how})" + (f" x {numbers[1]} accumulated" if accumulated else "")
    what = " ".join(each[0] for each in (device, accumulated) if each) or f"default of {call.program}"
    found.put("train.train_batch_size", numbers[0] * numbers[1] * call.processes, what, f"{product}, sequences per step")
    if numbers[1] > 1:
        text = "debft takes the mean over the step; transformers 5 adds up the parts, DeBERTa's gradient is larger there"
        found.note("say", accumulated[0] if accumulated else "", text)


def _place(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take where the rows are; say where the run goes. Files are not looked at."""
    if directory := first_value(given, "data_dir"):
        path = directory[1].rstrip("/")
        parent, _, last = path.rpartition("/")
        is_of_task = last.lower() in {each.lower() for name in SUITES for each in (name, SUITES[name])}
        found.put(
            "data", (parent or ".") if is_of_task else path, directory[0], "the directory above the task's" if is_of_task else ""
        )
    if (dataset := first_value(given, "dataset_name")) and found.values.get("task") == "text":
        found.put("data", dataset[1], dataset[0])
        if subset := first_value(given, "dataset_config_name"):
            found.put("own.subset", subset[1], subset[0])
    if "do_regression" in given and found.values.get("task") == "text":
        found.put(
            "own.problem", "regression" if given["do_regression"].is_on() else "classification", given["do_regression"].shown()
        )
    for text in call.lost:
        found.note("lost", text, "a setting of the launcher: a precision, optimizer or accumulation that it sets is left out")
    output = first_value(given, "output_dir")
    task = found.values.get("task", "TASK")
    where = f" --output {output[1]}" if output else ""
    found.note("say", output[0] if output else "", f"run it with `debft {task} --recipe FILE{where}`")


def _files(given: dict[str, Typed], call: Call, found: Imported) -> None:
    """Take files of rows: debft reads one file, or a directory with train and validation."""
    typed = {split: first_value(given, *flags) for split, flags in FILE_FLAGS.items()}
    files = {split: value[1] for split, value in typed.items() if value}
    if not files or found.values.get("task") not in ("text", "squad", "squad2") or "data" in found.values:
        return  # a task or data set by name goes before files, as there
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


def _without_own(found: Imported) -> None:
    """Take back what is said of one's own rows where the command names a benchmark's."""
    for key in [key for key in found.values if key.startswith("own.")]:
        del found.values[key]
        found.notes = [note for note in found.notes if not note.text.startswith(f"{key} ")]


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


def _rest(given: dict[str, Typed], found: Imported) -> None:
    """Say of every flag that nothing above has named that it changes nothing here: no flag goes without a line."""
    named = {word for note in found.notes for word in note.what.split()}
    for name, typed in given.items():
        if f"--{name}" not in named:
            found.note("unused", typed.shown(), "changes nothing beside the others")
