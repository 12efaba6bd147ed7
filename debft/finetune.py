"""One run from recipe to result: check, encode, build, train, evaluate, save."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debft.comparison import beside_published, why_not_compared
from debft.data import source_kind
from debft.errors import InputError, Interrupted
from debft.models import build_model, build_tokenizer, model_labels
from debft.plan import Plan, check_output, describe, make_plan
from debft.progress import Meter, meter, say
from debft.recipe import Recipe
from debft.results import RunDirectory, RunResult, environment, peak_memory_bytes
from debft.signals import StopRequest, stop_requested

if TYPE_CHECKING:
    from debft.data.encoding import EncodedSplit


def finetune(recipe: Recipe, output: Path, *, resume: bool = False) -> RunResult:
    """Run `recipe` into the run directory `output` and return its result.

    With `resume` the newest valid checkpoint is continued, and a complete run is returned as it is.
    Raises InputError before anything is written, NotFiniteError, or Interrupted after a checkpoint was saved.
    """
    run = RunDirectory(output)
    done = check_output(run, recipe, resume)
    if done is not None:
        return done
    plan = make_plan(recipe)
    return _Run(plan, run).execute(resume)


class _Run:
    """The state of one run while it goes: what is built, what was best, what was spent."""

    def __init__(self, plan: Plan, run: RunDirectory) -> None:
        from debft.data.batches import Collator
        from debft.devices import build_accelerator, micro_batch_tokens

        self.plan, self.run = plan, run
        self.config = plan.recipe.train
        self.accelerator, self.precision = build_accelerator(plan.recipe.runtime)
        self.speaks = self.accelerator.is_main_process
        self.micro_batch_tokens = micro_batch_tokens(plan.recipe.runtime, self.accelerator.device)
        self.tokenizer = build_tokenizer(plan.files)
        self.splits = self._encode()
        self.collate: Collator = Collator(
            pad_id=self.tokenizer.pad_token_id, names=tuple(self.tokenizer.model_input_names), device=self.accelerator.device,
            left=self.tokenizer.padding_side == "left",
        )  # fmt: skip
        self.best: dict[str, Any] = {"step": 0, "score": None}
        self.seconds = {"train": 0.0, "eval": 0.0}
        self.num_tokens = self.num_examples = 0

    def _encode(self) -> "dict[str, EncodedSplit]":
        """Labels in the order of the model's outputs; one process encodes, the others read its cache."""
        import numpy as np

        from debft.data.encoding import encode

        labels = model_labels(self.plan.files, self.plan.task)
        order = np.array([labels.index(label) for label in self.plan.task.labels])
        splits = {}
        with self.accelerator.main_process_first():
            for name, examples in self.plan.examples.items():
                split = encode(
                    examples, self.tokenizer, max_seq_length=self.config.max_seq_length, truncation=self.config.truncation,
                    seed=self.config.seed, what=name, show=self.speaks,
                )  # fmt: skip
                splits[name] = replace(split, labels_N=order[split.labels_N])
        return splits

    def execute(self, resume: bool) -> RunResult:
        from debft.optimization import build_optimizer

        recipe, task = self.plan.recipe, self.plan.task
        describe(self.plan, self.splits, self.accelerator, self.precision) if self.speaks else None
        model = build_model(
            self.plan.files, task, from_scratch=self.config.from_scratch, head_dropout=self.config.head_dropout,
            seed=self.config.seed, quiet=not self.speaks,
        )  # fmt: skip
        optimizer = build_optimizer(model, self.config)
        first_step = self._restore(model, optimizer) if resume else 0
        if self.speaks and not self.run.exists():
            self.run.create(recipe)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        with stop_requested(self.speaks) as stop:
            self._train(first_step, stop)
            return self._finish(stop)

    def _restore(self, model, optimizer) -> int:
        from debft.checkpoint import load_newest, restore_optimizer

        found = load_newest(self.run.checkpoints)
        if found is None:
            if self.speaks and self.run.exists():
                self.run.rewind(0)
            return 0
        fingerprints = self.plan.fingerprints
        if found.state["fingerprints"] != fingerprints:
            changed = [name for name in fingerprints if found.state["fingerprints"].get(name) != fingerprints[name]]
            raise InputError(
                f"--output {self.run.path}: was trained on other rows of {', '.join(changed)}; choose another --output"
            )
        model.load_state_dict(found.weights)
        restore_optimizer(model, optimizer, found.moments)
        self.best, self.seconds = found.state["best"], found.state["seconds"]
        self.num_tokens, self.num_examples = found.state["num_tokens"], found.state["num_examples"]
        if "loss_scale" in found.state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.state["loss_scale"])
        if self.speaks:
            self.run.rewind(found.step)
            say(f"resuming after step {found.step:,} of {self.plan.total_steps:,}")
        return found.step

    def _train(self, first_step: int, stop: StopRequest) -> None:
        from debft.data.batches import steps_per_epoch
        from debft.train import optimizer_steps

        runtime, total = self.plan.recipe.runtime, self.plan.total_steps
        per_epoch = steps_per_epoch(len(self.plan.train), self.config.train_batch_size)
        with meter("train", total, "steps", done=first_step, show=self.speaks) as progress:
            steps = optimizer_steps(
                self.accelerator,
                self.model,
                self.optimizer,
                self.splits[self.plan.task.train.name],
                self.config,
                collate=self.collate,
                micro_batch_tokens=self.micro_batch_tokens,
                total_steps=total,
                first_step=first_step,
            )
            for log in steps:
                self._note(log, progress)
                last = log.step == total
                if self._agreed(stop):
                    self._save(log.step)
                    self._leave(stop, log.step)
                if not last and (self._due(log.step, self.config.eval_steps)
                                 or (self.config.eval_each_epoch and log.step % per_epoch == 0)):  # fmt: skip
                    self._evaluate(log.step, stop)
                if not last and self._due(log.step, runtime.save_steps):
                    self._save(log.step)

    @staticmethod
    def _due(step: int, every: int | None) -> bool:
        return every is not None and step % every == 0

    def _note(self, log, progress: Meter) -> None:
        self.seconds["train"] += log.seconds
        self.num_tokens += log.num_tokens
        self.num_examples += log.num_examples
        if self.speaks:
            self.run.append("steps.jsonl", asdict(log))
        speed = self.num_examples / self.seconds["train"]
        progress.advance(1, f"loss {log.loss:.3f}  lr {log.learning_rate:.1e}  {speed:,.0f} examples/s")

    def _agreed(self, stop: StopRequest) -> bool:
        """Whether any process was told to stop: all leave after the same step."""
        if self.accelerator.num_processes == 1:
            return bool(stop)
        import torch

        flag = torch.tensor(stop.number, device=self.accelerator.device)
        stop.number = int(self.accelerator.gather(flag.reshape(1)).max())
        return bool(stop)

    def _save(self, step: int) -> None:
        from debft.checkpoint import keep_newest, save_checkpoint

        self.accelerator.wait_for_everyone()
        if self.speaks:
            state = {
                "fingerprints": self.plan.fingerprints, "best": self.best, "seconds": self.seconds,
                "num_tokens": self.num_tokens, "num_examples": self.num_examples,
            }  # fmt: skip
            if self.accelerator.scaler is not None:
                state["loss_scale"] = self.accelerator.scaler.state_dict()
            plain = self.accelerator.unwrap_model(self.model)
            save_checkpoint(self.run.checkpoints, f"step-{step:06d}", step, plain, self.optimizer, state)
            keep_newest(self.run.checkpoints, self.plan.recipe.runtime.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _leave(self, stop: StopRequest, step: int) -> None:
        raise Interrupted(
            stop.number,
            f"interrupted after step {step:,} of {self.plan.total_steps:,}; continue with --output {self.run.path} --resume",
        )

    def _logits(self, step: int, stop: StopRequest):
        from debft.evaluation import predict

        def check() -> None:
            if stop and self.accelerator.num_processes == 1:
                self._save(step)
                self._leave(stop, step)

        return {
            split.name: predict(
                self.accelerator, self.model, self.splits[split.name], collate=self.collate, what=split.name,
                micro_batch_tokens=4 * self.micro_batch_tokens, check=check,
            )
            for split in self.plan.task.evals
        }  # fmt: skip

    def _evaluate(self, step: int, stop: StopRequest) -> dict[str, Any]:
        """Score all eval splits after `step`; keeps the weights if they are the best so far and the recipe wants that."""
        from debft.checkpoint import keep_newest, save_checkpoint
        from debft.evaluation import scores

        started = time.perf_counter()
        logits = self._logits(step, stop)
        found = scores(self.plan.task, logits, self.splits)
        self.seconds["eval"] += time.perf_counter() - started
        score = self.plan.task.selection_score(found)
        if self.speaks:
            self.run.append("evaluations.jsonl", {"step": step, "scores": found})
            say(f"step {step:,}  " + "  ".join(f"{name} {value:.2f}" for name, value in found.items()))
        if self.config.checkpoint == "best" and (self.best["score"] is None or score > self.best["score"]):
            self.best = {"step": step, "score": score}
            if self.speaks:
                plain = self.accelerator.unwrap_model(self.model)
                save_checkpoint(self.run.checkpoints, f"best-{step:06d}", step, plain, None, {"scores": found})
                keep_newest(self.run.checkpoints, 1, prefix="best-")
        return {"scores": found, "logits": logits}

    def _finish(self, stop: StopRequest) -> RunResult:
        """Evaluate the last step, go back to the best where the recipe says so, write everything."""
        total = self.plan.total_steps
        outcome = self._evaluate(total, stop)
        self.accelerator.wait_for_everyone()
        if self.config.checkpoint == "best" and self.best["step"] != total:
            outcome = self._back_to_best(stop)
        result = self._result(outcome["scores"])
        if self.speaks:
            plain = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            save_model(plain, self.tokenizer, self.run.model)
            self._write_predictions(outcome["logits"])
            self.run.write_result(result)
        self.accelerator.wait_for_everyone()
        return result

    def _back_to_best(self, stop: StopRequest) -> dict[str, Any]:
        from debft.checkpoint import load_newest
        from debft.evaluation import scores

        found = load_newest(self.run.checkpoints, prefix="best-")
        if found is None or found.step != self.best["step"]:
            raise InputError(
                f"{self.run.checkpoints}: the best checkpoint, of step {self.best['step']}, is gone or damaged; train again"
            )
        self.accelerator.unwrap_model(self.model).load_state_dict(found.weights)
        if self.speaks:
            say(f"best step: {found.step:,} of {self.plan.total_steps:,}")
        logits = self._logits(self.plan.total_steps, stop)
        return {"scores": scores(self.plan.task, logits, self.splits), "logits": logits}

    def _result(self, scores: dict[str, float]) -> RunResult:
        recipe, task = self.plan.recipe, self.plan.task
        num_rows = {name: len(examples) for name, examples in self.plan.examples.items()}
        reason = why_not_compared(recipe, task, num_rows)
        train_seconds = self.seconds["train"]
        return RunResult(
            task=task.name, model=recipe.model or "", status="complete", scores=scores,
            published=[] if reason else beside_published(recipe, task, scores), not_compared=reason,
            num_examples={split.name: num_rows[split.name] for split in task.evals}, num_train_examples=len(self.plan.train),
            num_tokens=self.num_tokens, steps=self.plan.total_steps,
            timing={
                "train_seconds": train_seconds, "eval_seconds": self.seconds["eval"],
                "examples_per_second": self.num_examples / train_seconds, "tokens_per_second": self.num_tokens / train_seconds,
            },
            peak_memory_bytes=peak_memory_bytes(),
            data={"source": source_kind(recipe.data), "fingerprints": self.plan.fingerprints}, recipe=asdict(recipe),
            environment=environment(
                str(self.accelerator.device), self.precision, self.accelerator.num_processes, self.plan.files.revision
            ),
        )  # fmt: skip

    def _write_predictions(self, logits: dict[str, Any]) -> None:
        from debft.evaluation import probabilities

        names = list(model_labels(self.plan.files, self.plan.task))
        for split, logits_NC in logits.items():
            labels = self.splits[split].labels_N
            rows = [
                {
                    "id": i, "label": names[label], "prediction": names[row.argmax()],
                    "scores": {name: round(float(p), 6) for name, p in zip(names, row, strict=True)},
                }
                for i, label, row in zip(self.plan.examples[split].ids, labels, probabilities(logits_NC), strict=True)
            ]  # fmt: skip
            self.run.write_predictions(split, rows)


def save_model(model, tokenizer, directory: Path) -> None:
    """A plain transformers directory: opens with debft uninstalled, and AutoTokenizer gives the same tokens."""
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
