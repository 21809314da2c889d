"""How this process was started: alone, or as one of many ranks, read from the environment; and on how many cores."""

import os
from dataclasses import dataclass

# The variables for rank and ranks; where both are set, the process is that launcher's.
LAUNCHERS = {
    "horovodrun": ("HOROVOD_RANK", "HOROVOD_SIZE"),
    "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE"),
    # SLURM_NTASKS is set in batch scripts too, where the command is not srun's.
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
}


@dataclass(frozen=True)
class Launch:
    """What the launcher has set for this process.

    Attributes:
        launcher: its name; "" where there is none.
        rank: this process's number.
        size: processes in all.
        elastic: whether ranks may come and go.
    """

    launcher: str = ""
    rank: int = 0
    size: int = 1
    elastic: bool = False

    @property
    def many(self) -> bool:
        """Whether other processes were started with this one, or may be later."""
        return self.size > 1 or self.elastic


def launched(environment=os.environ) -> Launch:
    """The Launch of this process."""
    for launcher, (rank, size) in LAUNCHERS.items():
        try:
            numbers = int(environment[rank]), int(environment[size])
        except (KeyError, ValueError):
            continue
        return Launch(launcher, *numbers, elastic=environment.get("HOROVOD_ELASTIC") == "1")
    return Launch()


def usable_cores() -> int:
    """The processor cores that this process may use; all of the machine's where they are not known (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
