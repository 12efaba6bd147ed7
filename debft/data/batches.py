"""This module decides which examples meet in which optimizer step, and how a step is cut into micro-batches.

Step k of a run is a function of (seed, k, batch size) alone: no sampler has a state that a checkpoint must carry, and
neither the number of processes nor the micro-batches change who meets whom.

Legend: N examples, B sequences in a micro-batch, L its padded length.
"""

from functools import lru_cache
from heapq import heapreplace

import numpy as np

EVEN = 1.005  # of the mean tokens of all processes: a process with no more than that is not worth an exchange


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Return the order of the examples in an epoch (from 0), by a generator of its own: read-only, (N,) int64."""
    order = np.random.default_rng((seed, epoch)).permutation(num_examples)
    order.setflags(write=False)
    return order


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Return the number of steps. The last one of an epoch may have fewer examples; its loss is the mean over those."""
    return -(-num_examples // batch_size)


def step_examples(step: int, seed: int, num_examples: int, batch_size: int) -> np.ndarray:
    """Return the examples of optimizer step `step` (from 0), over all processes."""
    epoch, index = divmod(step, steps_per_epoch(num_examples, batch_size))
    return epoch_order(seed, epoch, num_examples)[index * batch_size : (index + 1) * batch_size]


def share(indices: np.ndarray, lengths: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return what process `rank` takes of a step, longest first, so that all have about as many tokens. It may be empty.

    The longest example that is left goes to the process with the fewest tokens so far, the first of several: the heaviest has at
    most a third more than in the best division. Source: R. L. Graham, Bounds on multiprocessing timing anomalies, 1969 (LPT).
    """
    ordered = by_length(indices, lengths)
    if world == 1:
        return ordered
    owners = np.empty(len(ordered), dtype=np.int64)
    loads = [(0, process) for process in range(world)]
    for place, length in enumerate(lengths[ordered].tolist()):
        tokens, owners[place] = loads[0]
        heapreplace(loads, (tokens + length, int(owners[place])))
    _even_out(owners, lengths[ordered], world)
    return ordered[owners == rank]


def _even_out(owners_N: np.ndarray, lengths_N: np.ndarray, world: int) -> None:
    """Let the process with the most tokens exchange an example with another one, in place, until it is EVEN or none helps.

    That exchange is made after which the heavier of the two is lightest, so that the lightest of all never gets lighter.
    """
    while True:
        loads = np.bincount(owners_N, lengths_N, minlength=world)
        heaviest = int(loads.argmax())
        own, others = np.flatnonzero(owners_N == heaviest), np.flatnonzero(owners_N != heaviest)
        if loads[heaviest] <= EVEN * loads.mean() or not len(others):
            return
        handed_over = lengths_N[own][:, None] - lengths_N[others]
        heavier = np.maximum(loads[heaviest] - handed_over, loads[owners_N[others]] + handed_over)
        first, second = np.unravel_index(heavier.argmin(), heavier.shape)
        if heavier[first, second] >= loads[heaviest]:
            return
        owners_N[own[first]], owners_N[others[second]] = owners_N[others[second]], heaviest


def by_length(indices: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sort the examples, the longest first; equal lengths stay in their order."""
    return indices[np.argsort(-lengths[indices], kind="stable")]


def places_in_step(batch: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return the place of each example of a batch among those of its step, `indices`."""
    order = np.argsort(indices)
    return order[np.searchsorted(indices, batch, sorter=order)]


def micro_batches(indices: np.ndarray, lengths: np.ndarray, max_tokens: int, *, packed: bool = False) -> list[np.ndarray]:
    """Cut `indices` (longest first) so that each batch has `max_tokens` at most, or one sequence.

    packed: only the tokens of the sequences count; without it B x L, their padding too, see `tokens_of`
    """
    batches, start = [], 0
    ends = np.cumsum(lengths[indices])
    while start < len(indices):
        if packed:
            before = ends[start] - lengths[indices[start]]
            size = max(1, int(np.searchsorted(ends, before + max_tokens, side="right")) - start)
        else:
            size = max(1, max_tokens // int(lengths[indices[start]]))
        batches.append(indices[start : start + size])
        start += size
    return batches


def tokens_of(batch: np.ndarray, lengths: np.ndarray, *, packed: bool = False) -> int:
    """Return the tokens of a batch (longest first), with their padding unless it is packed."""
    return int(lengths[batch].sum()) if packed else len(batch) * int(lengths[batch[0]])


def halved(tokens: int, batches: list[np.ndarray], lengths: np.ndarray, *, packed: bool = False) -> int:
    """Return a limit by which the largest of `batches`, which were cut by `tokens`, is cut in two; 0: each is one sequence."""
    sizes = [tokens_of(batch, lengths, packed=packed) for batch in batches if len(batch) > 1]
    return min(tokens, max(sizes)) // 2 if sizes else 0
