"""Options of the machine: device, precision, threads, ranks, and where a run's files are."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.errors import ConfigError


@dataclass(frozen=True)
class ExecutionConfig(Config):
    """Execution: device, precision, seed"""

    compute_mode: str = option("auto", "device; auto = a GPU if there is one", choices=("auto", "CPU", "GPU"))
    precision: str = option(
        "float32",
        "mixed = float16 with loss scaling; bfloat16 = bfloat16 compute over float32 weights; auto = bfloat16 where "
        "the machine multiplies it natively and nothing is trained, else float32",
        choices=("float32", "mixed", "bfloat16", "auto"),
    )
    xla: bool | str = option(
        "auto",
        "compile the step with XLA (--noxla: do not); auto = where there is an accelerator: on a CPU it takes minutes",
        choices=("auto", True, False),
    )
    seed: int = option(0, "seed of the weights and of the order of the data", minimum=0, maximum=2**32 - 1)
    deterministic: bool = option(
        False,
        "the same command gives the same bits: operations that depend on the order of threads give way to slower ones, "
        "and none is compiled with XLA",
    )
    inter_op_parallelism_threads: int = option(0, "TensorFlow's threads between operations; 0 = its choice", minimum=0)
    intra_op_parallelism_threads: int = option(0, "TensorFlow's threads inside one; 0 = its choice", minimum=0)


@dataclass(frozen=True)
class RanksConfig(Config):
    """Ranks: many processes, one a device, started by horovodrun or mpirun"""

    distributed: str = option(
        "auto",
        "work as one of several ranks; auto = where a launcher started the command; true = refuse to start without one",
        choices=("auto", "true", "false"),
    )


@dataclass(frozen=True)
class DistributedConfig(RanksConfig):
    """Ranks: many processes, one a device, started by horovodrun or mpirun"""

    num_groups: int = option(1, "the gradients are averaged in so many groups", minimum=1)
    gradient_compression: str = option(
        "none", "type in which the gradients travel between the ranks", choices=("none", "float16", "bfloat16")
    )
    sync_batch_norm: bool = option(
        False, "batch statistics over the whole batch instead of each rank's part (dense networks; without XLA)"
    )
    lr_scaling: str = option(
        "none",
        "multiply the learning rate by the number of ranks, or its root; none, since minibatch_size is of all ranks "
        "together and does not grow with them",
        choices=("none", "linear", "sqrt"),
    )
    lr_scaling_epochs: float = option(5.0, "epochs in which the factor of lr_scaling rises from 1", minimum=0.0)


@dataclass(frozen=True)
class OutputConfig(Config):
    """Run: where its files are"""

    output_dir: str = option("output", "folder of all runs; a run's files are in <output_dir>/<run_id>", path=True)
    run_id: str = option("test", "name of the run; the same name again resumes it")

    def check(self):
        if not self.run_id or self.run_id in (".", "..") or "/" in self.run_id:
            raise ConfigError(f"--run_id={self.run_id!r}: must be a plain folder name")
