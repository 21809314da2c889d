"""How training speeds up with the number of ranks: a model of one step.

A step of N ranks is: every rank computes its part of the batch; the slowest is waited for; the gradients are averaged.
The gradients leave the compiled part of the step all at once, so that none of this overlaps.

    step(N) = compute * (1 + spread * sqrt(2 ln N)) + 2 (N - 1) / N * bytes / bandwidth + 2 (N - 1) * latency
    efficiency(N) = step(1) / step(N)

The last two terms are the ring allreduce: in 2 (N - 1) rounds each rank sends a piece of bytes / N (P. Patarasuk and
X. Yuan, J. Parallel Distrib. Comput. 69, 117, 2009). With `tree` the rounds that wait for latency are 2 log2 N instead,
as in NCCL's trees. sqrt(2 ln N) standard deviations is where the largest of N normal values lies for large N; `spread`
is the standard deviation of a rank's computing time, in units of its mean.
"""

import math
from dataclasses import dataclass

BYTES = {"none": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Machine:
    """What the ranks run on.

    Attributes:
        bandwidth: bytes a second that a rank sends, while all of them do.
        latency: seconds of one round.
        spread: relative standard deviation of the computing time of a step.
        algorithm: "ring" or "tree".
    """

    bandwidth: float
    latency: float
    spread: float = 0.0
    algorithm: str = "ring"


@dataclass(frozen=True)
class Step:
    """One step of N ranks, in seconds.

    Attributes:
        ranks: their number.
        compute: of a rank, on average.
        waiting: for the slowest rank.
        exchange: of the gradients.
    """

    ranks: int
    compute: float
    waiting: float
    exchange: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.waiting + self.exchange

    @property
    def efficiency(self) -> float:
        """Images a second and rank, relative to one rank alone."""
        return self.compute / self.seconds


def bytes_sent(weights: int, ranks: int, compression: str = "none") -> float:
    """Bytes that each rank sends in a step, to average the gradients of so many weights."""
    return 2 * (ranks - 1) / ranks * weights * BYTES[compression]


def model_step(machine: Machine, compute: float, weights: int, ranks: int, compression: str = "none") -> Step:
    """The step of `ranks` ranks.

    Args:
        machine: see Machine.
        compute: seconds that one rank computes in a step.
        weights: trained ones.
        ranks: their number.
        compression: of the gradients, as --gradient_compression.
    """
    rounds = 2 * (ranks - 1) if machine.algorithm == "ring" else 2 * math.ceil(math.log2(ranks))
    exchange = bytes_sent(weights, ranks, compression) / machine.bandwidth + rounds * machine.latency
    return Step(ranks, compute, compute * machine.spread * math.sqrt(2 * math.log(ranks)), exchange)
