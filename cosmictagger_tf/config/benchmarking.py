"""Options of what is measured: networks on this machine, and a model of many ranks."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.errors import ConfigError


@dataclass(frozen=True)
class BenchmarkConfig(Config):
    """Benchmark: what is measured, and how often"""

    json: str = option(
        "", "write the results there, with machine, versions and configuration; none = no file", path=True
    )
    repeats: int = option(5, "calls that are timed, after one that is not", minimum=1)
    batch_sizes: tuple[str, ...] = option(("1",), "events a batch, comma-separated")
    reading_steps: int = option(
        20, "steps of training with reading (and ten times as many of reading alone); 0 = leave both out", minimum=0
    )
    sites: tuple[str, ...] = option((), "also time batches of so many active pixels, comma-separated; none = empty")
    most_trained_sites: int = option(240_000, "above so many active pixels only the forward pass is timed", minimum=0)
    dense_modes: tuple[str, ...] = option((), "also time these dense networks (2D, 3D), comma-separated; none = empty")
    dense_downsample: int = option(2, "their images are divided by 2^dense_downsample", minimum=0, maximum=8)
    reference: bool = option(
        False, "also time a 2D network as the reference's TensorFlow code has it: stock Keras layers, plane by plane"
    )
    startup: bool = option(
        False, "instead, run whole commands (predict, train, export) on --file, and show what they take until each line"
    )
    against: str = option(
        "", "with --startup, compare with the code of another checkout, given by its folder; none = no other", path=True
    )

    def check(self):
        for name in ("batch_sizes", "sites"):
            wrong = [value for value in getattr(self, name) if not value.isdecimal() or int(value) < 1]
            if wrong:
                raise ConfigError(f"--{name}: '{wrong[0]}' is no number of 1 or more")
        if not self.batch_sizes:
            raise ConfigError("--batch_sizes: give at least one")
        wrong = sorted(set(self.dense_modes) - {"2D", "3D"})
        if wrong:
            raise ConfigError(f"--dense_modes={wrong[0]}: must be 2D or 3D")


@dataclass(frozen=True)
class ScalingConfig(Config):
    """Scaling: device and connection between the ranks"""

    rank_counts: tuple[str, ...] = option(
        ("1", "2", "8", "32", "128", "512", "1024", "2048", "4096"), "numbers of ranks, comma-separated"
    )
    step_seconds: float = option(
        0.0, "seconds that one rank computes in a step, where you have measured it; 0 = from device_tflops", minimum=0.0
    )
    device_tflops: float = option(5.0, "10^12 operations a second that a device reaches in convolutions", minimum=1e-6)
    bandwidth: float = option(6.25, "10^9 bytes a second that a rank sends while all ranks do", minimum=1e-6)
    latency: float = option(5.0, "microseconds of one round of the allreduce", minimum=0.0)
    spread: float = option(0.0, "relative standard deviation of a rank's computing time", minimum=0.0)
    allreduce: str = option("ring", "how the ranks are connected", choices=("ring", "tree"))

    def check(self):
        wrong = [count for count in self.rank_counts if not count.isdecimal() or int(count) < 1]
        if wrong:
            raise ConfigError(f"--rank_counts: '{wrong[0]}' is no number of ranks")
