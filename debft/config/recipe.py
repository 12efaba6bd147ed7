"""A recipe holds everything that defines one run, typed and frozen, each key with its owner.

The text below a field is its description in the JSON schema (see schema.py), so it stands where the field is changed. What moves
the score is in the sections of `SCORE_SECTIONS`; `runtime` must not move it.
"""

from dataclasses import MISSING, asdict, dataclass, field, replace
from typing import Any, Literal

SOURCES = ("hub", "demo")  # of `data`, beside directories
SCORE_SECTIONS = ("train", "text", "own", "questions", "languages", "sift")
SECTIONS = (*SCORE_SECTIONS, "runtime")
MOST_RUNS = 10_000  # of one command, over folds or seeds: each is planned and checked before the first begins


def bounded(
    default: Any = MISSING,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Any:
    """Declare a field of a dataclass whose value must be > above, >= least, < below, <= most."""
    return field(default=default, metadata={"above": above, "least": least, "below": below, "most": most})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """This section says how the weights are trained, and on how many rows."""

    num_train_epochs: float = bounded(3.0, above=0)
    """Passes over the training data."""
    max_steps: int | None = bounded(None, least=1)
    """Optimizer steps in all, instead of the number that the epochs give; the schedule then ends there."""
    train_batch_size: int = bounded(32, least=1)
    """Sequences per optimizer step, over all devices."""
    learning_rate: float = bounded(2e-5, above=0)
    """The learning rate at the end of the warm-up, which is the highest one."""
    warmup_steps: float = bounded(0.1, least=0)
    """Optimizer steps over which the learning rate rises; a number below 1 is that fraction of the run."""
    schedule: Literal["linear", "linear_unshifted"] = "linear"
    """How the learning rate falls: `linear` from the end of the warm-up to 0 at the last step; `linear_unshifted` is 1 - step/total
    after the warm-up, so that it drops by warmup/total where the warm-up ends."""
    layerwise_lr_decay: float = bounded(1.0, above=0, most=1)
    """Factor of the learning rate from a layer to the one below it: the head has the whole rate, the embeddings the lowest; 1: all
    weights have one rate. Source: google-research/electra model/optimization.py, _get_layer_lrs."""
    bias_correction: bool = True
    """Whether Adam divides its moments by 1 - beta^step."""
    adam_beta1: float = bounded(0.9, least=0, below=1)
    """Decay per step of Adam's mean of the gradients."""
    adam_beta2: float = bounded(0.999, least=0, below=1)
    """Decay per step of Adam's mean of the squared gradients."""
    adam_epsilon: float = bounded(1e-8, above=0)
    """What Adam adds to the root of the mean square before it divides by it."""
    weight_decay: float = bounded(0.0, least=0)
    """Decoupled decay per step, times the learning rate, of everything but biases and LayerNorm weights."""
    max_grad_norm: float = bounded(1.0, above=0)
    """Norm over all gradients to which larger ones are clipped."""
    class_weight: str = "none"
    """What a training row counts for in the loss, by its label: `none` (all alike), `balanced` (rows / (labels x rows of the
    label), as scikit-learn has it), or `label=weight,label=weight` (1 for the others). The mean over the
    training rows is made 1."""
    head_dropout: float | None = bounded(None, least=0, below=1)
    """Probability of dropout before the classifier; null leaves the model's own."""
    steps: Literal["up", "down"] = "up"
    """How steps are counted: `up` counts a part of a batch as a step; `down` is floor(sequences x epochs / train_batch_size)."""
    checkpoint: Literal["last", "best"] = "last"
    """Which weights are saved and reported: those of the `last` step, or the `best` by the dev scores. `metric` and `patience`
    make it `best` where it is not given."""
    metric: str | None = None
    """Score that the best weights are best by, such as `macro_f1`, `validation/macro_f1` or `loss`, of which the lowest is best;
    null: the mean of the task's scores on the splits that choose."""
    patience: int | None = bounded(None, least=1)
    """Evaluations without a better score after which training ends, with the schedule as it was planned; null: it goes to the last
    step. Where neither `eval_steps` nor `eval_each_epoch` is given, the end of each epoch is evaluated as well."""
    eval_steps: int | None = bounded(1000, least=1)
    """Optimizer steps from one evaluation during the run to the next; null: none during the run."""
    eval_each_epoch: bool = False
    """Whether the end of each epoch is evaluated as well."""
    from_scratch: bool = False
    """Whether the weights start from random numbers, as the model's config.json has them, instead of pre-trained ones."""
    max_train_samples: int | None = bounded(None, least=1)
    """Rows of the training split that are used, the first ones of those that are kept; null: all."""
    max_eval_samples: int | None = bounded(None, least=1)
    """Rows of each eval split that are used, the first ones of those that are kept; null: all."""
    skip_bad_rows: bool = False
    """Whether a row that cannot be read or is wrong is left out, and counted; false: it ends the command."""
    seed: int = bounded(42, least=0)
    """Seed of the head's initial weights, the data order and dropout."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """This section says how a row becomes the text that the model reads."""

    max_seq_length: int = bounded(256, least=8)
    """Tokens of the longest input, special tokens included."""
    truncation: Literal["longest_first", "random_ends"] = "longest_first"
    """How a longer input is cut: `longest_first` cuts the end of the longer text (transformers); `random_ends` drops tokens one by
    one from the front or the back of the longer text, by a coin (the DeBERTa repository)."""
    swap_texts: bool = False
    """Whether the second text of a pair goes first, as the DeBERTa repository feeds QNLI: sentence, question."""
    long_texts: Literal["cut", "windows"] = "cut"
    """What is done with a longer input: it is `cut`, or its longer text is read in overlapping `windows`, of whose outputs one is
    made."""
    pooling: Literal["mean", "max"] = "mean"
    """How the outputs for the windows of a text become one: their `mean`, or for each label the highest (`max`)."""
    window_stride: int | None = bounded(None, least=0)
    """Tokens that neighbouring windows of a long text share; null: a quarter of max_seq_length."""


@dataclass(frozen=True, kw_only=True)
class OwnConfig:
    """This section belongs to the user's own data: which of its columns and rows mean what."""

    text_columns: str | None = None
    """Columns that the model reads, `a` or `a,b`; null: found in the file."""
    label_column: str | None = None
    """Column that the model learns; null: found in the file."""
    problem: Literal["auto", "classification", "multilabel", "regression"] = "auto"
    """What the labels are: one name a row (`classification`), any number of names (`multilabel`) or scores (`regression`); `auto`:
    found in the file."""
    label_separator: str | None = None
    """What stands between the labels of a cell, `|` in `a|b`: the rows then have any number of labels; null: lists alone hold
    several."""
    validation: float | None = bounded(None, above=0, below=1)
    """Share of the training rows that is held out as the validation split; null: a tenth where the data has no validation rows."""
    test: float | None = bounded(None, above=0, below=1)
    """Share of the training rows that is held out as a test split, which is scored once, at the end; null: none."""
    split_seed: int = bounded(42, least=0)
    """Seed of what is held out and of the folds. Runs with other seeds of their own are trained and scored on the same rows."""
    split_column: str | None = None
    """Column that says which split a row is in; null: found in the file."""
    subset: str | None = None
    """Configuration of a data set from the hub; null: its only one, or the one it calls its default."""
    encoding: str | None = None
    """Encoding of text files, such as cp1252; null: UTF-8, or what their byte order marks say."""
    folds: int | None = bounded(None, least=2, most=MOST_RUNS)
    """Folds that the training rows are cut into, each the validation split of one run; null: not cut."""
    fold: int | None = bounded(None, least=1)
    """The fold that is the validation split of this run, from 1 to `folds`; the others are trained on."""


@dataclass(frozen=True, kw_only=True)
class QuestionConfig:
    """This section belongs to question answering: how a context is cut into windows, and an answer out of it."""

    doc_stride: int = bounded(128, least=0)
    """Tokens that neighbouring windows of a context share."""
    max_question_length: int = bounded(64, least=1)
    """Tokens after which a question is cut."""
    max_answer_length: int = bounded(30, least=1)
    """Tokens of the longest answer."""
    n_best_size: int = bounded(20, least=1)
    """Answers that are kept for each question."""


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """This section belongs to XNLI: which languages are trained on and evaluated."""

    train_language: str = "en"
    """Language that is trained on."""
    eval_languages: str | None = None
    """Languages that are evaluated, `fr,de`; null: all fifteen."""


@dataclass(frozen=True, kw_only=True)
class SiftConfig:
    """This section belongs to scale-invariant adversarial fine-tuning. Source: microsoft/DeBERTa DeBERTa/sift/sift.py."""

    weight: float = bounded(0.0, least=0)
    """Factor (lambda) of the adversarial loss that is added to the task's; 0: off."""
    init_std: float = bounded(1e-2, least=0)
    """Standard deviation of the first random perturbation of the normalised embeddings, cut at two of it; 0: none."""
    step_size: float = bounded(1e-4, least=0)
    """Largest change of one number of a token in the step of ascent; 0: no ascent, the random perturbation alone."""


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """This section must not move the score, beyond rounding and dropout's masks."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the matrix products; the weights are float32 always. `auto`: bf16 where the GPU has it, else fp32; with SiFT as
    its recipe was published, else fp32."""
    attention: Literal["auto", "eager", "torch", "triton"] = "auto"
    """What computes the attention: `eager` is transformers' own code, `torch` ours for any device and `triton` ours of
    kernels for CUDA, both for DeBERTa-v2, v3 and mDeBERTa. They agree up to rounding. `auto`: the fastest that is there."""
    checkpoint_activations: bool = False
    """Whether the activations of the layers are computed anew for the backward pass instead of kept: less memory,
    a second forward pass, the same gradients."""
    shard: bool = False
    """Whether each of several processes holds a part of the weights, of their gradients and of the optimizer's state: for a model
    that is too large for one device. Not in fp16; one process holds all."""
    cuda_graphs: bool = True
    """Whether the steps of a run with `attention: triton` in one process are recorded as CUDA graphs and replayed, which keeps a
    GPU busy with a small model. Not with SiFT, fp16 or `checkpoint_activations`."""
    deterministic: bool = False
    """Whether torch's deterministic algorithms are used: on a GPU the same run then gives the same bits, slower."""
    micro_batch_tokens: int | None = bounded(None, least=1)
    """Padded tokens in one forward pass; null: 2,048 on a CPU, 16,384 on a GPU."""
    save_steps: int | None = bounded(500, least=1)
    """Optimizer steps from one checkpoint to the next; null: only where the run is interrupted."""
    keep_checkpoints: int = bounded(2, least=1)
    """Newest checkpoints that stay on disk."""
    hang_seconds: float | None = bounded(300.0, above=0)
    """Seconds for which a process of the run, or the one that started it, may show no sign of life, as a stopped one does; then
    the run ends with exit code 5, and with the stacks of all that debft has started. Null: as long as it likes."""
    check_leaks: bool = False
    """Whether rows that are scored are also compared with training rows that are nearly the same, before training."""
    report_to: str | None = None
    """Trackers that the run is logged to, `tensorboard` or `tensorboard,wandb`: also trackio, mlflow, comet_ml, aim, clearml,
    dvclive, swanlab, each with its package; null or `none`: none."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe defines one run."""

    task: str | None = None
    """Name of the task, such as `mnli`; null: given on the command line."""
    model: str | None = None
    """Alias, hub id or directory of the model; null: given on the command line."""
    data: str = "hub"
    """Where the rows come from: `hub`, `demo` or a directory; for own data also a file, or the hub id of a data set."""
    init_from: str | None = None
    """Run whose weights the training starts from, or `RUN@STEP`, of its checkpoint of that step; the head stays only where it has
    the task's labels."""
    starts_from: str | None = None
    """Recipe whose run the published one started from, such as `mnli/deberta-base`; `debft reproduce` runs that first, elsewhere
    `init_from` gives its run."""
    dialect: Literal["card", "repo"] = "card"
    """Program whose defaults hold for keys that the recipe does not give: the transformers command of the model cards (`card`), or
    the DeBERTa repository (`repo`)."""
    train: TrainConfig = TrainConfig()
    """How the weights are trained, and on how many rows."""
    text: TextConfig = TextConfig()
    """How a row becomes the text that the model reads."""
    own: OwnConfig = OwnConfig()
    """The user's own data: which columns and rows mean what."""
    questions: QuestionConfig = QuestionConfig()
    """Question answering: windows of a context, and answers."""
    languages: LanguageConfig = LanguageConfig()
    """XNLI: which languages are trained on and evaluated."""
    sift: SiftConfig = SiftConfig()
    """Scale-invariant adversarial fine-tuning."""
    runtime: RuntimeConfig = RuntimeConfig()
    """What must not move the score."""
    reproduces: str | None = None
    """Published cell(s) that the run reproduces, `table/row/task`."""
    source: str | None = None
    """Where the hyper-parameters come from."""
    note: str | None = None
    """What a user of the recipe must know beside that."""


def window_stride(text: TextConfig) -> int:
    """Return the tokens that neighbouring windows of a long text share."""
    return text.max_seq_length // 4 if text.window_stride is None else text.window_stride


def value_at(recipe: Recipe, dotted: str) -> Any:
    """Return the value of a dotted key, such as `text.max_seq_length` or `model`."""
    value: Any = recipe
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def with_values(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """Return the recipe with other values at dotted keys, `{"train.seed": 1}`. They are not checked."""
    for dotted, value in values.items():
        section, _, key = dotted.rpartition(".")
        changed = replace(getattr(recipe, section), **{key: value}) if section else value
        recipe = replace(recipe, **{section or key: changed})
    return recipe


def with_train(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with other values in `train`."""
    return replace(recipe, train=replace(recipe.train, **changes))


def source_kind(source: str) -> str:
    """Return `hub`, `demo` or `directory`."""
    return source if source in SOURCES else "directory"


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain data, every key given; `reading.from_dict` is the inverse."""
    return asdict(recipe)
