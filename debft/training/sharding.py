"""Weights and optimizer state of a model that may be sharded are taken over from process 0, and looked at in all processes."""

from collections.abc import Callable

import torch
from accelerate.utils import gather_object

from debft.models.finite import not_finite
from debft.models.shards import Tensors, is_part, own_part, part_like
from debft.models.vocabulary import ActiveVocabulary
from debft.runtime.launch.group import in_a_group
from debft.training.parallel import broadcast_tensors_from_main


def take_weights(
    own: Tensors, weights: Tensors, read: Callable[[str, torch.Tensor], torch.Tensor] = lambda name, whole: whole
) -> None:
    """Write the weights that process 0 gives into the tensors of every process, or of each the part that the process holds.

    own: the state of the model
    weights: those of all its tensors, {} in the other processes
    read: gives what the model takes of a weight, from its name and all of it
    """

    def take(name: str, whole: torch.Tensor) -> torch.Tensor:
        whole = read(name, whole).to(own[name].device)
        return own[name] if own[name] is whole else own_part(own[name]).copy_(own_part(part_like(whole, own[name])))

    taken = broadcast_tensors_from_main(weights, take) if in_a_group() else {name: take(name, one) for name, one in weights.items()}
    assert taken.keys() == own.keys(), "the weights are those of the model"


def parts_of_moments(moments: Tensors, model: torch.nn.Module, vocabulary: ActiveVocabulary) -> Tensors:
    """Return in every process its part of the optimizer state that process 0 gives, for a model that is sharded."""
    parameters = dict(model.named_parameters())

    def keep(key: str, whole: torch.Tensor) -> torch.Tensor:
        whole = vocabulary.read_moments({key: whole})[key]
        return part_like(whole, parameters[key.rpartition("/")[0]]) if whole.dim() else whole  # the updates are counted in each

    return broadcast_tensors_from_main(moments, keep)


def not_finite_in_all(tensors: Tensors) -> dict[str, int]:
    """Return how many numbers of each tensor are not finite, with those of its parts in other processes, which call it too."""
    counts = not_finite({name: own_part(tensor) for name, tensor in tensors.items()})
    if not any(is_part(tensor) for tensor in tensors.values()):
        return counts
    summed: dict[str, int] = {}
    for name, count in gather_object([*counts.items()]):
        summed[name] = summed.get(name, 0) + count if is_part(tensors[name]) else count
    return summed
