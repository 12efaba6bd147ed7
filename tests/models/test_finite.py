"""Numbers that are not finite are found in tensors of any kind and size."""

import pytest
import torch

from debft.models.finite import not_finite

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("numbers", [(NAN,), (INF,), (-INF,), (INF, -INF), (NAN, INF, NAN)], ids=str)
def test_numbers_that_are_not_finite_are_counted(numbers, dtype):
    torch.manual_seed(0)
    tensor = torch.randn(1000, 300).to(dtype)
    for number in numbers:
        tensor[torch.randint(1000, ()), torch.randint(300, ())] = number
    assert not_finite({"whole": torch.randn(50), "broken": tensor, "counts": torch.arange(9)}) == {"broken": len(numbers)}


@pytest.mark.parametrize(("largest", "dtype"), [(3e38, torch.float32), (1e300, torch.float64), (6e4, torch.float16)])
def test_finite_numbers_whose_sum_overflows_are_finite(largest, dtype):
    tensor = torch.full((1000,), largest, dtype=dtype)
    assert not_finite({"large": tensor, "none": torch.empty(0), "one": torch.ones(())}) == {}
    tensor[7] = NAN
    assert not_finite({"large": tensor}) == {"large": 1}


def test_trained_weights_are_looked_at():
    weight = torch.nn.Parameter(torch.tensor([1.0, INF]))
    assert not_finite({"weight": weight}) == {"weight": 1}
