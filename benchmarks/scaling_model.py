"""What a training step takes on N processes, computed: the tokens, what does not shrink with N, and the gradients on the wire.

Nothing here is measured; `scaling.py` sets it beside what was, and gives the constants of the devices and links.
"""

from dataclasses import dataclass

from shapes import CONFIGS
from speed_rows import product_parameters

FLOP_A_PARAMETER = 6  # of a real token, forward and backward
BACKWARD = 2 / 3  # of a pass; what gradients can travel behind
MESSAGE = 2**23  # bytes of one sum of gradients, as debft/training/exchange.py cuts them
ADAM_BYTES = 28  # for a trained parameter: weight, gradient and two averages are read, all but the gradient written, in float32


@dataclass(frozen=True, kw_only=True)
class Device:
    """What computes for one process.

    flops: FLOP a second that it reaches on real tokens, products alone being counted.
    fixed_seconds: of a layer and step, whatever its tokens are.
    launch_seconds: of a layer and step for the host to start the kernels, behind which the device computes; 0: there are none.
    memory_bytes: that it reads or writes in a second.
    """

    flops: float
    fixed_seconds: float = 0.0
    launch_seconds: float = 0.0
    memory_bytes: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Link:
    """What the slowest part of the ring is. bytes: a second, in one direction; latency_seconds: of each passing on."""

    name: str
    bytes: float
    latency_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """A step of the whole run.

    flop: of its real tokens. layers: of the model. parameters: that are trained.
    gradient_bytes: that travel; last_bytes: of them those of the embeddings, which are there when the backward pass is done.
    """

    flop: float
    layers: int
    parameters: float
    gradient_bytes: float
    last_bytes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """The seconds of a step, one after another; `total` is their sum."""

    compute: float
    padding: float
    imbalance: float
    fixed: float
    launch: float
    optimizer: float
    exchange: float
    latency: float

    @property
    def total(self) -> float:
        return sum(vars(self).values())


def work_of(shape: str, tokens: float, *, active_rows: int | None = None) -> Work:
    """Return the work of a step of so many real tokens. active_rows: of the embedding table that are trained; None: all."""
    config = CONFIGS[shape]
    rows = config["vocab_size"] if active_rows is None else active_rows
    products = product_parameters(config)
    embeddings = rows * config["hidden_size"]
    trained = products + embeddings
    flop = FLOP_A_PARAMETER * products * tokens
    return Work(
        flop=flop, layers=config["num_hidden_layers"], parameters=trained, gradient_bytes=4 * trained, last_bytes=4 * embeddings
    )


def step(
    work: Work,
    device: Device,
    link: Link | None = None,
    processes: int = 1,
    *,
    padding: float = 0.0,
    imbalance: float = 0.0,
    graphs: bool = False,
    overlapped: bool = False,
) -> Step:
    """Return what a step takes.

    link: between the processes, of which there is none for one.
    padding: share of the computed tokens that are none; imbalance: of the process with the most tokens, above the mean.
    graphs: the kernels of a step are started at once, not one by one.
    overlapped: what has its gradients travels while others are computed; else all travel once all are there.
    """
    compute = work.flop / processes / device.flops
    padded = compute * padding / (1 - padding)
    uneven = (compute + padded) * imbalance
    fixed = work.layers * device.fixed_seconds
    busy = compute + padded + uneven + fixed
    launch = 0.0 if graphs else max(0.0, work.layers * device.launch_seconds - busy)
    exchange = latency = 0.0
    if link is not None and processes > 1:
        messages = -(-work.gradient_bytes // MESSAGE)
        on_the_wire = 2 * (processes - 1) / processes * work.gradient_bytes / link.bytes
        last = on_the_wire * max(work.last_bytes / work.gradient_bytes, 1 / messages)  # has nothing to hide behind
        latency = messages * 2 * (processes - 1) * link.latency_seconds
        hidden = BACKWARD * (busy + launch) if overlapped else 0.0
        exchange = max(last, on_the_wire - hidden) if overlapped else on_the_wire
    return Step(
        compute=compute,
        padding=padded,
        imbalance=uneven,
        fixed=fixed,
        launch=launch,
        optimizer=work.parameters * ADAM_BYTES / device.memory_bytes,
        exchange=exchange,
        latency=latency,
    )
