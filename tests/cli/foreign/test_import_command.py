"""`debft import-command`: the published commands give the packaged recipes, and nothing is dropped without a line."""

import dataclasses
import json
import random
import re
import subprocess

import pytest
from card_commands import CARDS, REPOSITORIES
from typer.testing import CliRunner

from debft.cli import main as cli
from debft.cli.foreign import command, flags
from debft.cli.foreign.launchers import find_call
from debft.cli.foreign.recipe import imported_recipe
from debft.cli.foreign.shell_text import Script
from debft.cli.foreign.special import import_call
from debft.config import yaml12
from debft.config.differences import differing_keys
from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import value_at
from debft.config.recipe_hash import recipe_hash
from debft.errors import InputError

GLUE = "python run_glue.py --model_name_or_path microsoft/deberta-v3-small --task_name rte --do_train --output_dir out"


def imported(text, gpus=None):
    recipe, _, notes = imported_recipe(text, "the command", gpus)
    return recipe, [f"{note.kind}: {note.line()}" for note in notes]


def problems(text, gpus=None):
    with pytest.raises(InputError) as error:
        imported_recipe(text, "the command", gpus)
    return error.value.problems


@pytest.mark.parametrize("name", CARDS)
def test_published_command_of_a_card_gives_the_packaged_recipe(name):
    packaged, (recipe, lines) = load_recipe(recipe_path(name)), imported(CARDS[name])
    assert differing_keys(packaged, recipe, "resume") == [] and recipe.runtime == packaged.runtime
    assert recipe_hash(recipe) == recipe_hash(packaged)
    assert any(line.startswith(f"say: the same as the packaged recipe {name}:") for line in lines)


@pytest.mark.parametrize("name", REPOSITORIES)
def test_published_command_of_the_repository_gives_the_packaged_recipe(name):
    """But for the seed, which is 1234 there, and the data directory."""
    packaged, (recipe, _) = load_recipe(recipe_path(name)), imported(REPOSITORIES[name])
    assert differing_keys(packaged, recipe, "cell") == []
    assert (recipe.train.seed, recipe.data) == (1234, "/tmp/DeBERTa//glue_tasks")
    if packaged.runtime.precision != "auto":
        assert recipe.runtime.precision == packaged.runtime.precision


def test_every_packaged_recipe_that_was_published_is_compared():
    """One of ours says so in its source."""
    recipes = {name: load_recipe(recipe_path(name)) for name in recipe_names()}
    published = {
        name
        for name, recipe in recipes.items()
        if re.match("(?!ours).*(the card's command|microsoft/DeBERTa)", recipe.source or "")
    }
    assert published == {*CARDS, *REPOSITORIES}


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("python run_glue.py", 1),
        ("torchrun --nproc_per_node 4 run_glue.py", 4),
        ("torchrun --nnodes=2 --nproc-per-node=4 examples/run_glue.py", 8),
        ("python3 -m torch.distributed.launch --nproc_per_node=8 --use_env run_glue.py", 8),
        ("python -m torch.distributed.launch run_glue.py", 1),
        ("accelerate launch --multi_gpu --num_processes 3 run_glue.py", 3),
        ("accelerate launch --cpu run_glue.py", 1),
        ("deepspeed --num_gpus=8 --num_nodes 2 run_glue.py", 16),
        ("deepspeed --include localhost:0,2,3 run_glue.py", 3),
        ("python xla_spawn.py --num_cores 8 run_glue.py", 8),
        ("CUDA_VISIBLE_DEVICES=0,1 python run_glue.py", 2),
        ("export CUDA_VISIBLE_DEVICES=3\npython run_glue.py", 1),
        ("nohup python -u ./run_glue.py", 1),
        ("!python run_glue.py", 1),
    ],
)
def test_batch_is_that_of_all_processes(launcher, processes):
    recipe, _ = imported(
        GLUE.replace("python run_glue.py", launcher) + " --per_device_train_batch_size 4 --gradient_accumulation_steps 2"
    )
    assert recipe.train.train_batch_size == 4 * 2 * processes


def test_number_of_processes_that_the_command_does_not_say_is_asked_for():
    command = GLUE.replace("python", "accelerate launch")
    (problem,) = problems(command)
    assert "--gpus N" in problem
    assert imported(command, gpus=4)[0].train.train_batch_size == 32
    assert "4 processes" in problems(GLUE.replace("python", "torchrun --nproc_per_node 4"), gpus=2)[0]
    lost = imported(GLUE.replace("python", "accelerate launch --num_processes 2 --config_file c.yaml --use_deepspeed"))[1]
    assert {line.split(":")[1].strip() for line in lost if line.startswith("lost:")} == {"--config_file", "--use_deepspeed"}
    assert "srun" in problems(f"srun -n 8 {GLUE}")[0]
    assert "write the number" in problems(GLUE.replace("python", "torchrun --nproc_per_node $(nproc)"))[0]


@pytest.mark.parametrize("typed", ["\u00b2", "\u0663", "9" * 5000], ids=["superscript", "Arabic", "5000 digits"])
def test_number_that_no_parser_reads_is_a_line(typed):
    for flag in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        assert f"--{flag}: expected a whole number of at least 1, got" in problems(f"{GLUE} --{flag} {typed}")[0]
    assert any(line.startswith(f"lost: --save_steps {typed}: ") for line in imported(f"{GLUE} --save_steps {typed}")[1])
    assert "say it with --gpus N" in problems(GLUE.replace("python", f"torchrun --nproc_per_node {typed}"))[0]
    launcher = f"torchrun --nproc_per_node 2 --nnodes {typed}"
    assert "--nnodes: expected a number of machines" in problems(GLUE.replace("python", launcher))[0]


def test_defaults_of_the_script_are_made_explicit_where_ours_differ():
    """Oracle: the fields of the installed TrainingArguments; the length is run_glue.py's own."""
    from transformers import TrainingArguments

    theirs = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    train = imported(GLUE)[0].train
    for ours, name in (
        ("learning_rate", "learning_rate"),
        ("num_train_epochs", "num_train_epochs"),
        ("train_batch_size", "per_device_train_batch_size"),
        ("warmup_steps", "warmup_steps"),
        ("weight_decay", "weight_decay"),
        ("adam_beta1", "adam_beta1"),
        ("adam_beta2", "adam_beta2"),
        ("adam_epsilon", "adam_epsilon"),
        ("max_grad_norm", "max_grad_norm"),
        ("seed", "seed"),
    ):
        assert getattr(train, ours) == theirs[name], name
    assert theirs["lr_scheduler_type"] == train.schedule == "linear"
    assert train.eval_steps is None and theirs["eval_strategy"] == "no"
    assert imported(GLUE)[0].text.max_seq_length == 128
    trainer_defaults = flags.table()["programs"]["run_qa.py"]["defaults"]
    assert trainer_defaults | {"text.max_seq_length": 128} == flags.table()["programs"]["run_glue.py"]["defaults"] | {
        key: value for key, value in trainer_defaults.items() if key.startswith("questions.")
    }


@pytest.mark.parametrize(
    ("more", "key", "value"),
    [
        ("--evaluation_strategy epoch", "train.eval_each_epoch", True),
        ("--eval_strategy steps", "train.eval_steps", 500),
        ("--eval_strategy=steps --eval_steps 50 --logging_steps 7", "train.eval_steps", 50),
        ("--warmup_ratio 0.06", "train.warmup_steps", 0.06),
        ("--warmup_ratio 0.06 --warmup_steps 10", "train.warmup_steps", 10),
        ("--max_steps -1", "train.max_steps", None),
        ("--max_steps 100", "train.max_steps", 100),
        ("--fp16", "runtime.precision", "fp16"),
        ("--bf16 True", "runtime.precision", "bf16"),
        ("--max_grad_norm 0", "train.max_grad_norm", 1e9),
        ("--save_strategy no", "runtime.save_steps", None),
        ("--learning-rate=1e-5", "train.learning_rate", 1e-5),
        ("--max_seq 64", "text.max_seq_length", 64),
        ("--load_best_model_at_end --eval_strategy epoch", "train.metric", "loss"),
        ("--load_best_model_at_end --eval_strategy epoch --metric_for_best_model eval_accuracy", "train.metric", "accuracy"),
        ("--load_best_model_at_end --eval_strategy epoch --metric_for_best_model combined_score", "train.metric", None),
        ("--load_best_model_at_end --task_name mnli", "train.metric", "validation_matched/loss"),
        ("--task_name mnli --train_file x.csv", "data", "hub"),
        ("--load_best_model_at_end False --eval_strategy epoch", "train.checkpoint", "last"),
        ("--gradient_checkpointing", "runtime.checkpoint_activations", True),
        ("--data_dir glue_data/RTE", "data", "glue_data"),
    ],
)
def test_flag_becomes_its_key(more, key, value):
    assert value_at(imported(f"{GLUE} {more}")[0], key) == value


REFUSED = {
    "--lr_scheduler_type cosine": "falls linearly",
    "--label_smoothing_factor 0.1": "no label smoothing",
    "--optim adafactor": "AdamW",
    "--group_by_length": "which rows meet",
    "--tokenizer_name other": "from --model alone",
    "--zork 3": "no flag of run_glue.py that debft knows",
    "--learning_rat 3 --learning_rate": "expected one value",
    "--learning_rate $LR": "$LR is not set in the text",
    "--seed $1": "$1 is an argument of the script",
    "--fp16 maybe": "expected true or false",
    "config.json": "expected one value",
    "--load_best_model_at_end --metric_for_best_model loss --greater_is_better True": "worst weights",
    "--learning_rate fast": "expected a number",
    "--load_best_model_at_end --metric_for_best_model pearson": "by accuracy, loss; name one of these",
}


@pytest.mark.parametrize("more", REFUSED)
def test_what_moves_the_score_and_debft_lacks_is_an_error(more):
    assert any(REFUSED[more] in problem for problem in problems(f"{GLUE} {more}"))


def test_all_problems_are_named_at_once():
    assert len(problems(f"{GLUE} --zork 3 --lr_scheduler_type cosine --optim sgd --learning_rate $LR")) == 4


def test_every_flag_of_a_command_has_a_line():
    typed = (
        "--ddp_timeout 30",
        "--data_seed 3",
        "--overwrite_cache",
        "--report_to wandb",
        "--logging_dir logs",
        "--dataloader_drop_last",
        "--lr_scheduler_type linear",
    )
    lines = "\n".join(imported(f"{GLUE} {' '.join(typed)}")[1])
    assert all(flag in lines for flag in typed)
    assert "lost: --data_seed 3" in lines and "gone: --logging_dir logs" in lines


VALUES = {
    "task_name": "mnli", "language": "de", "dataset_name": "squad", "lr_schedule": "warmup_linear", "eval_strategy": "steps", "optim": "adamw_torch",
    "evaluation_strategy": "epoch", "save_strategy": "steps", "metric_for_best_model": "accuracy", "train_language": "en",
}  # fmt: skip


@pytest.mark.parametrize("program", flags.programs())
def test_no_flag_of_any_program_goes_without_a_line(program):
    """Each alone beside what the program must have; a line is a note or a problem that names it."""
    must = {"init_model": "base"} if program == "DeBERTa.apps.run" else {"model_name_or_path": "roberta-base"}
    must |= {"task_name": "rte"} if "xnli" not in program and "qa" not in program and "squad" not in program else {}
    start = f"python -m {program}" if program == "DeBERTa.apps.run" else f"torchrun --nproc_per_node 2 {program}"
    for name, flag in flags.programs()[program].flags.items():
        given = must | {name: "" if flag.takes == "switch" else VALUES.get(name, must.get(name, "1"))}
        words = " ".join(f"--{key} {value}".strip() for key, value in given.items())
        try:
            script = Script()
            said = [note.line() for note in import_call(find_call(script, f"{start} {words}", "", None), script).notes]
        except InputError as error:
            said = error.problems
        assert any(f"--{name}" in line for line in said), name


PIECES = (
    "$",
    "${",
    "`",
    "'",
    '"',
    "\\",
    "\n",
    " -- ",
    "=",
    ";",
    "(",
    "$((",
    "&&",
    " # ",
    "\ue000" + "0" + "\ue000",
    "\0",
    " --fp16 ",
    " -1 ",
    " nan ",
)


def test_unknown_value_of_what_is_no_part_of_a_recipe_is_left_open():
    recipe, lines = imported(f"for seed in 1 2; do\n{GLUE} --output_dir runs/$seed --run_name $(date)\ndone")
    assert recipe == imported(GLUE)[0]
    assert "say: --output_dir ...: run it with `debft rte --recipe FILE --output ...`" in lines and any(
        "--run_name ..." in line for line in lines
    )


def test_mangled_command_is_a_recipe_or_lines_never_a_traceback():
    chance = random.Random(0)
    for number in range(200):
        text = [*CARDS.values(), *REPOSITORIES.values()][number % 20]
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(PIECES) + text[at + chance.choice((0, 0, 7)) :]
        script = Script()
        try:
            import_call(find_call(script, text, "text", None), script)
        except InputError as error:
            assert error.problems and not any("\n" in problem for problem in error.problems), text


def test_secrets_are_not_shown_wherever_they_stand(capsys, tmp_path):
    secret = "hf_0123456789"
    for text in (
        f"HF_TOKEN={secret} {GLUE} --hub_token {secret} --push_to_hub_token={secret} --token {secret} --use_auth_token {secret}",
        f"{GLUE} --hub_tok {secret} --my_api_key {secret}",
        f"export WANDB_API_KEY={secret}\n{GLUE} --hub_token $WANDB_API_KEY",
    ):
        result = CliRunner().invoke(cli.app, ["import-command", text])
        shown = result.output + str(result.exception) + capsys.readouterr().err
        assert shown and secret not in shown


def test_nothing_is_run_and_nothing_written_but_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", None)
    text = f"touch made; x=$(touch made)\n`touch made`\n{GLUE} > log.txt 2>&1 | tee other.txt"
    result = CliRunner().invoke(cli.app, ["import-command", text, "--output", "mine.yaml"])
    assert result.exit_code == 0, result.exception
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert load_recipe(tmp_path / "mine.yaml") == imported(text)[0]
    again = CliRunner().invoke(cli.app, ["import-command", text, "--output", "mine.yaml"])
    assert isinstance(again.exception, InputError)


def test_variable_that_is_set_under_a_condition_is_not_believed():
    script = 'case $1 in\na)\n  p="--seed 1"\n;;\nb)\n  p="--seed 2"\n;;\nesac\nfunction f(){\n  q=1\n}\n'
    assert "set under a condition" in problems(f"{script}{GLUE} --seed $q")[0]
    assert "changes in a loop" in problems(f"seed=1\nfor seed in 1 2; do\n{GLUE} --seed $seed\ndone")[0]
    assert imported(f"seed=1\nseed=2; export seed\n{GLUE} --seed $seed")[0].train.seed == 2


@pytest.mark.parametrize(
    "text",
    [GLUE.replace(" --", " \\\n  --"), GLUE.replace(" --", " \\n --"), GLUE.replace(" --", " \\\\n --"), GLUE.replace(" --", " \\\r\n --"), f"# a comment's quote\n{GLUE} # --seed 3"],
    ids=["backslash", "n", "backslash n", "windows", "comments"],
)  # fmt: skip
def test_lines_are_joined_as_a_shell_joins_them(text):
    assert imported(text)[0] == imported(GLUE)[0]


def test_command_of_which_a_line_was_lost_is_refused():
    assert "backslash" in problems(f"{GLUE}\n  --learning_rate 3e-5")[0]
    assert "expected one command, got 2" in problems(f"{GLUE}\n{GLUE}")[0]
    assert "got train.py" in problems("python train.py --lr 3")[0]
    assert "expected words" in problems(f"{GLUE} --run_name 'open")[0]


@pytest.mark.parametrize(
    ("command", "task"),
    [
        ("python run_qa.py --dataset_name squad_v2 --version_2_with_negative", "squad2"),
        ("python run_qa.py --dataset_name rajpurkar/squad", "squad"),
        ("python run_squad.py --train_file S/train-v2.0.json --predict_file S/dev-v2.0.json --version_2_with_negative --model_type bert", "squad2"),
    ],
)  # fmt: skip
def test_question_answering_is_told_apart(command, task):
    recipe, _ = imported(f"{command} --model_name_or_path bert-base-cased --do_train --output_dir out --doc_stride 64")
    assert (recipe.task, recipe.model, recipe.questions.doc_stride) == (task, "google-bert/bert-base-cased", 64)
    assert (recipe.text.max_seq_length, recipe.data) == (384, "S" if "S/" in command else "hub")


def test_own_files_become_the_data_of_debft_text():
    start = "python run_glue.py --model_name_or_path roberta-base --do_train --output_dir out"
    recipe, _ = imported(f"{start} --train_file d/train.csv --validation_file d/dev.csv")
    assert (recipe.task, recipe.data) == ("text", "d")
    assert imported(f"{start} --train_file d/rows.csv")[0].data == "d/rows.csv"
    recipe, lines = imported(f"{start} --train_file a/x.csv --validation_file b/y.csv")
    assert recipe.data == "hub" and any("copy the files" in line for line in lines if line.startswith("lost:"))
    recipe, _ = imported(
        f"{start.replace('run_glue', 'run_classification')} --dataset_name a/b --text_column_names title,body --label_column_name y"
    )
    assert (recipe.data, recipe.own.text_columns, recipe.own.label_column) == ("a/b", "title,body", "y")


def test_loop_without_trainer_keeps_its_own_ways():
    recipe, lines = imported(
        "accelerate launch --num_processes 2 --mixed_precision fp16 run_glue_no_trainer.py --model_name_or_path roberta-base --task_name mrpc "
        "--max_length 64 --num_warmup_steps 10 --max_train_steps 50 --checkpointing_steps 20"
    )
    assert (recipe.text.max_seq_length, recipe.train.warmup_steps, recipe.train.max_steps, recipe.runtime.save_steps) == (
        64,
        10,
        50,
        20,
    )
    assert recipe.train.max_grad_norm == 1e9 and recipe.train.eval_each_epoch and recipe.runtime.precision == "fp16"
    assert any("draws one" in line for line in lines)


def test_json_has_recipe_hash_and_notes_alone_on_stdout(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["debft", "import-command", CARDS["mnli/deberta-v3-small"], "--json"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed["recipe_hash"] == recipe_hash(load_recipe(recipe_path("mnli/deberta-v3-small")))
    assert printed["recipe"]["task"] == yaml12.parse(printed["yaml"], "")["task"] == "mnli" and printed["notes"]


@pytest.mark.parametrize("where", ["stdin", "file"])
def test_bytes_that_are_no_text_are_one_line(tmp_path, monkeypatch, where):
    path = tmp_path / "train.sh"
    path.write_bytes(b"\xff\xfe")
    monkeypatch.setattr("sys.stdin", path.open(encoding="utf-8"))
    with pytest.raises(InputError, match=r"(stdin|train\.sh): expected a text file with a command, got other bytes"):
        command._text(["-" if where == "stdin" else str(path)])


def test_command_may_be_typed_without_quotes_or_come_from_a_file_or_stdin(tmp_path, monkeypatch):
    path = tmp_path / "train.sh"
    path.write_text(GLUE)
    assert command._text([str(path)]) == (GLUE, str(path))
    runner = CliRunner()
    by_words = runner.invoke(cli.app, ["import-command", *GLUE.split()])
    by_stdin = runner.invoke(cli.app, ["import-command", "-"], input=GLUE)
    assert by_words.exit_code == 0 and by_words.stdout == by_stdin.stdout != ""
    with pytest.raises(InputError, match="expected a command in quotes"):
        command._text(["nothing-here"])
