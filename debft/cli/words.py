"""The words of other programs: an option that debft does not know is answered by the one that is meant."""

from collections.abc import Iterable
from difflib import get_close_matches

# What people type at run_glue.py, simpletransformers and the like, with our option or what to do here.
ELSEWHERE = {
    "--lr": "--learning-rate",
    "--epochs": "--num-train-epochs",
    "--num-epochs": "--num-train-epochs",
    "--batch-size": "--train-batch-size",
    "--per-device-train-batch-size": "--train-batch-size",
    "--per-gpu-train-batch-size": "--train-batch-size",
    "--max-length": "--max-seq-length",
    "--max-len": "--max-seq-length",
    "--wd": "--weight-decay",
    "--warmup-ratio": "--warmup-steps",
    "--warmup": "--warmup-steps",
    "--model-name-or-path": "--model",
    "--model-name": "--model",
    "--train-file": "--data",
    "--dataset-name": "--data",
    "--output-dir": "--output",
    "--resume-from-checkpoint": "--resume",
    "--overwrite-output-dir": "--overwrite",
    "--early-stopping-patience": "--patience",
    "--metric-for-best-model": "--metric",
    "--fp16": "--precision fp16",
    "--bf16": "--precision bf16",
    "--no-cuda": "CUDA_VISIBLE_DEVICES= before the command",
    "--task-name": "the task as the command, debft mnli",
    "--lr-scheduler-type": "--set train.schedule=linear",
    "--max-grad-norm": "--set train.max_grad_norm=1",
    "--adam-epsilon": "--set train.adam_epsilon=1e-6",
    "--load-best-model-at-end": "--set train.checkpoint=best",
    "--gradient-checkpointing": "--set runtime.checkpoint_activations=true",
    "--gradient-accumulation-steps": "--train-batch-size, which is cut to what the memory holds by itself",
}


def meant(option: str, known: Iterable[str]) -> str:
    """Return `; did you mean --learning-rate?` for an option that a command lacks, "" where nothing is near.

    known: the options of the command
    """
    known, typed = set(known), option.partition("=")[0].lower().replace("_", "-")
    near = ELSEWHERE.get(typed) or (typed if typed in known else "")
    if near.startswith("--") and near.split()[0].rstrip(",") not in known:
        near = ""
    if not near:
        near = next(iter(get_close_matches(typed, known - {"--help"}, n=1, cutoff=0.7)), "")
    return f"; did you mean {near}?" if near else "; --help lists the options"
