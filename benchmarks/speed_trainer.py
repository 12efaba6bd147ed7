"""transformers' Trainer as it contends in `speed.py`: as the model cards run it, at its best, with other packages' attention."""

import time
from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from speed_rows import CARD, FLASH, FLASHDEBERTA, STEPS, Job
from speed_turns import Order, Turns
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from debft.config.recipe import Recipe
from debft.data.encoding import EncodedSplit
from debft.data.load import encode_split
from debft.models.tokens.tokenizer import build_tokenizer
from debft.tasks import QuestionAnswering
from debft.training.plan import make_plan

MEGA_BATCH = 50  # steps that Trainer sorts by length at once. Source: transformers trainer_pt_utils.py get_length_grouped_indices


def train_with_trainer(turns: Turns, job: Job) -> None:
    """A, B and the others: the sequences of `job.batch` are one optimizer step."""
    recipe = job.recipe()
    tokenizer, split, model = _prepared(job, recipe, "train")
    card = job.contender.kind == CARD
    micro = job.row.card_micro if card else job.batch if job.cuda else min(job.batch, job.row.best_micro)
    parts = max(1, job.batch // micro)
    done = min(job.card_parts or parts, parts) if card else parts
    trainer = PacedTrainer(
        model=model,
        args=_arguments(job, recipe, micro, done),
        train_dataset=Sequences(split, tokenizer.model_input_names, recipe.text.max_seq_length if card else 0),
        processing_class=tokenizer,
        data_collator=CountingCollator(default_data_collator if card else DataCollatorWithPadding(tokenizer)),
    )
    if not card:
        trainer.order = BatchesOfAlikeLength(split.lengths(), job.batch)
    trainer.mean_tokens = float(split.lengths().mean()) if card else None
    trainer.add_callback(Pace(turns, trainer, left_out=parts - done, micro=micro))
    turns.on_order = DropoutSwitch(model)
    trainer.train()


def evaluate_with_trainer(turns: Turns, job: Job) -> None:
    recipe = job.recipe()
    tokenizer, split, model = _prepared(job, recipe, "evals")
    card = job.contender.kind == CARD
    lengths = split.lengths()
    # B: longest first, as Trainer's grouping would have them, were there not too few rows for it.
    order = np.arange(min(job.card_rows, len(split))) if card else np.argsort(-lengths, kind="stable")
    sequences = Sequences(split, tokenizer.model_input_names, recipe.text.max_seq_length if card else 0, order)
    collate = CountingCollator(default_data_collator if card else DataCollatorWithPadding(tokenizer))
    trainer = Trainer(
        model=model,
        args=_arguments(job, recipe, 8 if card else 64 if job.cuda else 16, 1),  # 8 is Trainer's default
        eval_dataset=sequences,
        processing_class=tokenizer,
        data_collator=collate,
        compute_metrics=lambda predicted: {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())},
    )
    trainer.evaluate()
    turns.begin()
    while True:
        collate.sizes.clear()
        trainer.evaluate()
        _, tokens, positions = (sum(column) for column in zip(*collate.sizes, strict=True))
        # What is padded to one length takes the same time whatever it holds: it is counted as rows of the mean length.
        turns.step(examples=len(order), tokens=len(order) * lengths.mean() if card else tokens, positions=positions)


def _prepared(job: Job, recipe: Recipe, which: str):
    """Return (tokenizer, encoded sequences, model). The rows are the same as debft's, as the same tokens."""
    plan = make_plan(recipe)
    tokenizer = build_tokenizer(plan.files, plan.task)
    splits = [plan.task.train] if which == "train" else plan.task.selection_evals
    encoded = [encode_split(plan.task, plan.examples[one.name], tokenizer, recipe, what=one.name, show=False) for one in splits]
    return tokenizer, _joined(encoded), _model(job, plan.task)


def _joined(splits: list[EncodedSplit]) -> EncodedSplit:
    if len(splits) == 1:
        return splits[0]
    lengths = np.concatenate([split.lengths() for split in splits])
    columns = {name: np.concatenate([getattr(split, name) for split in splits]) for name in ("ids_T", "types_T", "labels_S")}
    return EncodedSplit(**columns, ends_S=lengths.cumsum(), truncated=0)


def _model(job: Job, task) -> torch.nn.Module:
    torch.manual_seed(0)
    answers = isinstance(task, QuestionAnswering)
    config = AutoConfig.from_pretrained(job.shape, num_labels=2 if answers else len(task.labels))
    config.problem_type = None if answers else "single_label_classification"
    if job.contender.kind == FLASHDEBERTA:
        import flashdeberta

        config.attention_probs_dropout_prob = 0.0
        kind = flashdeberta.FlashDebertaV2ForQuestionAnswering if answers else flashdeberta.FlashDebertaV2ForSequenceClassification
        return kind(config)
    auto = AutoModelForQuestionAnswering if answers else AutoModelForSequenceClassification
    model = auto.from_config(config, attn_implementation="eager", dtype=torch.float32)
    if job.contender.kind == FLASH:
        _pack(model)
    return model


def _pack(model: torch.nn.Module) -> None:
    """Let the encoder run on disentangled-flash without padding: packed behind the embeddings, padded before the head."""
    from disentangled_flash import enable_deberta_training, pack_padded_with_info, unpack_packed
    from transformers.modeling_outputs import BaseModelOutput

    model.cuda()
    enable_deberta_training(model.deberta, backend="triton")
    encoder = model.deberta.encoder

    def forward(hidden_BLD: torch.Tensor, attention_mask: torch.Tensor, **_) -> BaseModelOutput:
        packed, ends, info = pack_padded_with_info(hidden_BLD, attention_mask)
        output = encoder.forward_packed(packed, ends, packed_info=info).last_hidden_state
        padded, _ = unpack_packed(output, ends, hidden_BLD.size(1), packed_info=info)
        return BaseModelOutput(last_hidden_state=padded, hidden_states=(padded,))

    encoder.forward = forward


def _arguments(job: Job, recipe: Recipe, micro: int, parts: int) -> TrainingArguments:
    config, card = recipe.train, job.contender.kind == CARD
    return TrainingArguments(
        output_dir=str(job.out),
        max_steps=STEPS,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=parts,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch" if card else "adamw_torch_fused",
        train_sampling_strategy="random",  # B brings its own order, see BatchesOfAlikeLength
        bf16=job.contender.precision == "bf16",
        seed=config.seed,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not job.cuda,
    )


class Sequences(torch.utils.data.Dataset):
    """The sequences of an encoded split as Trainer takes them, padded to `length` where it is not 0; all of them, or `order`."""

    def __init__(self, split: EncodedSplit, names: list[str], length: int, order: np.ndarray | None = None) -> None:
        self.split, self.names, self.length = split, names, length
        self.order = np.arange(len(split)) if order is None else order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, list[int] | int]:
        index = int(self.order[place])
        ids, types = self.split.example(index)
        columns = {"input_ids": ids, "token_type_ids": types, "attention_mask": np.ones_like(ids)}
        more = max(0, self.length - len(ids))
        item = {name: np.pad(columns[name], (0, more)).tolist() for name in self.names}  # the id of the padding is 0
        label = self.split.labels_S[index]
        if np.ndim(label):
            return item | {"start_positions": int(label[0]), "end_positions": int(label[1])}
        return item | {"labels": int(label)}


class CountingCollator:
    """Remembers of each batch (sequences, tokens, positions)."""

    def __init__(self, collate) -> None:
        self.collate, self.sizes = collate, deque()

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        batch = self.collate(rows)
        self.sizes.append((len(rows), int(batch["attention_mask"].sum()), batch["input_ids"].numel()))
        return batch


class BatchesOfAlikeLength(torch.utils.data.Sampler):
    """Trainer's own grouping by length, in another order of the steps.

    Trainer sorts 50 steps at once, the longest first, so that its first steps would say nothing of the others. Here
    neighbouring steps are far apart in length.
    """

    def __init__(self, lengths: np.ndarray, batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        sorted_ones = get_length_grouped_indices(lengths.tolist(), batch, MEGA_BATCH, generator)[: MEGA_BATCH * batch]
        self.steps = [sorted_ones[i : i + batch] for i in range(0, len(sorted_ones) - batch + 1, batch)]

    def __len__(self) -> int:
        return STEPS * len(self.steps[0])

    def __iter__(self) -> Iterator[int]:
        golden, place = (5**0.5 - 1) / 2, 0.5  # the fractions of its multiples are spread evenly, however many are taken
        while True:
            yield from self.steps[int(place * len(self.steps))]
            place = (place + golden) % 1


class PacedTrainer(Trainer):
    """order: of the sequences, in the place of Trainer's; mean_tokens: of a sequence, where its tokens do not move its time."""

    order: torch.utils.data.Sampler | None = None
    mean_tokens: float | None = None

    def _get_train_sampler(self, *arguments, **options):
        return self.order or super()._get_train_sampler(*arguments, **options)

    def training_step(self, *arguments, **options):
        self.sizes = (*getattr(self, "sizes", ()), self.data_collator.sizes.popleft())  # batches are made ahead, in this order
        return super().training_step(*arguments, **options)


class Pace(TrainerCallback):
    """Waits for orders between the steps of Trainer.

    left_out: forward and backward passes of a step that are not done, being like the first one, whose time they are taken to need
    micro: sequences of each pass
    """

    def __init__(self, turns: Turns, trainer: PacedTrainer, *, left_out: int, micro: int) -> None:
        self.turns, self.trainer, self.left_out, self.micro = turns, trainer, left_out, micro
        self.first, self.started, self.begun = None, time.perf_counter(), False

    def on_pre_optimizer_step(self, *_, **__) -> None:
        if self.left_out and self.first is None:
            self.first = time.perf_counter() - self.started

    on_substep_end = on_pre_optimizer_step  # where several passes are done

    def on_step_end(self, *_, **__) -> None:
        sizes, self.trainer.sizes = self.trainer.sizes, ()
        examples, tokens, positions = (sum(column) for column in zip(*sizes, strict=True))
        scale = 1 + self.left_out * self.micro / examples
        examples = round(examples * scale)
        if self.trainer.mean_tokens is not None:
            tokens = examples * self.trainer.mean_tokens
        extra = self.left_out * (self.first or 0.0)
        if self.begun:
            self.turns.step(examples=examples, tokens=tokens, positions=round(positions * scale), extra=extra)
        else:
            self.begun = True
            self.turns.begin()
        self.first, self.started = None, time.perf_counter()


class DropoutSwitch:
    """Sets the probability of every dropout of a model to 0 and back, as an order has it."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.modules = [(module, module.p) for module in model.modules() if isinstance(module, torch.nn.Dropout)]

    def __call__(self, order: Order) -> None:
        for module, p in self.modules:
            module.p = p if order.dropout else 0.0
