"""Numbers that are not finite are found in tensors, wherever they come from or go to."""

from collections.abc import Mapping

import torch


def not_finite(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return how many numbers of each tensor are not finite, by its name; {} where all are.

    A number that is not finite makes the sum of its tensor so as well, which takes one pass at the speed of the memory, without a
    copy; a sum that overflows is looked at again. On a GPU the host waits once for all sums.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    if not floats:
        return {}
    sums = [tensor.detach().sum(dtype=torch.float32) for tensor in floats.values()]
    device = sums[0].device
    bad = (~torch.stack([one.to(device) for one in sums]).isfinite()).tolist()
    return {
        name: count
        for (name, tensor), suspect in zip(floats.items(), bad, strict=True)
        if suspect and (count := int((~tensor.isfinite()).sum()))
    }


def in_words(tensors: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> str:
    """Return `classifier.bias has 1 of 3 numbers that are not finite`, with how many other tensors have some. counts: not empty"""
    name, count = next(iter(counts.items()))
    others = f" (and {len(counts) - 1:,} more tensors)" if len(counts) > 1 else ""
    return f"{name} has {count:,} of {tensors[name].numel():,} numbers that are not finite{others}"
