"""A model that is too large for one device is sharded: each process holds a part of every weight, and of all that goes with it.

While a layer computes, its weights are put together from all processes, and let go of behind it; the gradients of all are summed
where the parts are held. So every process has to do as many passes as the others: each waits for all. What has to be whole, as
for a file, is put together one tensor at a time.

Source: torch.distributed.fsdp.fully_shard of torch 2.13 (FSDP2). The parts of a tensor are those of torch.chunk over its rows.
"""

from collections.abc import Mapping

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from debft.errors import InputError, MachineError, first_line
from debft.runtime.launch.group import is_main_process

Tensors = dict[str, torch.Tensor]


def shard_model(model: PreTrainedModel, device: torch.device, processes: int) -> None:
    """Let each process keep its part of a model that lies whole in the memory of every host, on `device`.

    The gradients of the processes are summed and not averaged. At most one layer is whole on the device at a time, and what is in
    no layer, above all the embeddings. Raises InputError for a model whose layers transformers does not mark as such.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(
            "runtime.shard: expected a model whose layers can be put together one at a time, "
            f"transformers' {model.config.model_type} is none; leave it out"
        )
    mesh = init_device_mesh(device.type, (processes,))
    for module in (*layers, model):
        sharded = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(model: torch.nn.Module) -> bool:
    """Return whether this process has a part of the model alone."""
    return isinstance(model, FSDPModule)


def is_part(tensor: torch.Tensor) -> bool:
    """Return whether this process holds a part of the tensor alone."""
    return isinstance(tensor, DTensor)


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this process holds: all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor put together from the parts of all processes, which call it, on its device: the tensor where it is whole."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def part_like(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return of a whole tensor, on the device of `like`, what this process keeps of it where `like` is sharded, else itself."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)  # every process has the whole one


def on_main(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return in process 0 copies of sharded tensors in the memory of the host, and in the others {}; every process calls it.

    Where nothing is sharded, the tensors themselves are returned, in every process.
    """
    if not any(is_part(tensor) for tensor in tensors.values()):
        return dict(tensors)
    copies = {}
    for name, tensor in tensors.items():
        whole = whole_of(tensor)
        if is_main_process():
            copies[name] = whole.cpu() if is_part(tensor) else whole.to("cpu", copy=True)
    return copies


def norm_over_parts(norm: torch.Tensor) -> torch.Tensor:
    """Return the norm over all processes, of the norm of the parts that this one holds, a scalar on its device."""
    squared = norm.square()
    torch.distributed.all_reduce(squared)
    return squared.sqrt()


def check_may_cut(model: torch.nn.Module, where: str, tokens: int, fewer: int, error: Exception) -> None:
    """Raise MachineError where the memory is not enough for a pass of a sharded model: the other processes wait in theirs.

    where: such as `step 3`; tokens: that went through the model at once
    fewer: the micro_batch_tokens with which fewer would, 0 where it was one sequence
    """
    if not is_sharded(model):
        return
    advice = f"--set runtime.micro_batch_tokens={fewer} --resume" if fewer else "--resume and more processes"
    what = f"{tokens:,} tokens at once" if fewer else "one sequence at a time"
    raise MachineError(
        f"{where}: the memory is not enough for {what} ({first_line(error)}), and with runtime.shard no process cuts them alone; "
        f"the same command with {advice} goes on"
    ) from error
