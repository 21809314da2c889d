"""The nouns of a run, as frozen dataclasses that validate themselves.

Every option stands here once, with its default, its help and its bounds; flags.py turns each field into the
absl flag of the same name. Imports neither TensorFlow nor absl. Where the reference CosmicTagger has the
option, its name is kept (its `run.minibatch_size` is `minibatch_size` here).
"""

import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError


def option(default, help: str, *, choices=None, minimum=None, maximum=None) -> Any:
    """A dataclass field that knows its help text, its allowed values and its inclusive bounds."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Base of all configs: checks each field's choices and bounds, and goes to and from a plain dict."""

    def __post_init__(self):
        for f in fields(self):
            _check_value(f.name, getattr(self, f.name), f.metadata)
        self.check()

    def check(self):
        """Rules between fields; raises ConfigError."""

    def to_dict(self) -> dict:
        """A plain dict that json can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict):
        """The config that to_dict described; raises ConfigError on a name that is no option."""
        names = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise ConfigError(f"{cls.__name__} has no option {', '.join(unknown)} (written by a newer version?)")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    @classmethod
    def defaults(cls) -> dict:
        """The default of every option."""
        return {f.name: f.default for f in fields(cls) if f.default is not MISSING}


def _check_value(name, value, metadata):
    choices, low, high = metadata.get("choices"), metadata.get("minimum"), metadata.get("maximum")
    if choices and value not in choices:
        raise ConfigError(f"--{name}={value}: must be one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{name}={value}: must be a finite number")
    if low is not None and value < low:
        raise ConfigError(f"--{name}={value}: must be at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"--{name}={value}: must be at most {high}")


@dataclass(frozen=True)
class DataConfig(Config):
    """Data: which events are read, and how"""

    file: tuple[str, ...] = option((), "larcv3 HDF5 files, comma-separated; patterns such as 'set_*.h5' are expanded")
    synthetic: bool = option(False, "read no file: random pixel lists of the size of an SBND event, to measure compute")
    reader: str = option(
        "h5py", "library that reads the files (identical arrays; larcv must be compiled)", choices=("h5py", "larcv")
    )
    producer_image: str = option("sbndwire", "producer of the sparse2d product that is the image")
    producer_label: str = option("sbnd_cosmicseg", "producer of the sparse2d product that is the label")
    first_entry: int = option(0, "skip the entries before this one (counted over all files)", minimum=0)
    max_entries: int = option(0, "use at most this many entries; 0 = all", minimum=0)
    downsample: int = option(1, "divide both axes by 2^downsample; 0 = full resolution", minimum=0, maximum=8)
    minibatch_size: int = option(2, "events a step, over all ranks together", minimum=1)

    def check(self):
        if self.synthetic and self.file:
            raise ConfigError("--synthetic reads no file: leave out --file, or --synthetic")


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Network: the UResNet's architecture (defaults are the reference's)"""

    conv_mode: str = option("2D", "how the UResNet is computed", choices=("2D", "3D", "sparse"))
    n_initial_filters: int = option(16, "filters of the first convolution", minimum=1)
    network_depth: int = option(6, "how many times the image is halved on the way down", minimum=1, maximum=8)
    blocks_per_layer: int = option(2, "blocks at each level, down and up", minimum=0)
    blocks_deepest_layer: int = option(5, "blocks at the deepest level", minimum=0)
    blocks_final: int = option(5, "blocks after the way up, before the logits", minimum=0)
    filter_size_deepest: int = option(5, "kernel size of the deepest blocks (2D); odd", minimum=1)
    bottleneck_deepest: int = option(256, "filters of the 1x1 bottleneck around the deepest blocks", minimum=1)
    block_concat: bool = option(False, "keep the planes apart at the deepest level (the reference's name for it)")
    deepest_3d: str = option(
        "kernel_3x3x3",
        "3D: how the deepest level mixes the planes; bottleneck = the reference code's [3,1,1] around [1,5,5]",
        choices=("kernel_3x3x3", "bottleneck"),
    )
    residual: bool = option(True, "residual blocks (two convolutions and a shortcut) instead of plain ones")
    growth_rate: str = option(
        "additive", "filters grow by n_initial_filters a level, or double", choices=("additive", "multiplicative")
    )
    connections: str = option("concat", "how the way up joins the way down", choices=("concat", "sum", "none"))
    downsampling: str = option("max_pooling", "how a level halves the image", choices=("max_pooling", "convolutional"))
    upsampling: str = option("interpolation", "how a level doubles it", choices=("interpolation", "convolutional"))
    bias: bool = option(True, "convolutions have a bias")
    normalization: str = option(
        "batch", "normalisation after each convolution", choices=("none", "batch", "layer", "group", "instance")
    )
    norm_statistics: str = option(
        "auto",
        "batch statistics of each plane, or of all; auto = as the reference: per_plane in 2D, pooled in 3D",
        choices=("auto", "per_plane", "pooled"),
    )
    wiring: str = option(
        "pytorch",
        "which of the reference's two implementations sets slope, batch-norm constants and the skip connections' place",
        choices=("tensorflow", "pytorch"),
    )
    weight_decay: float = option(0.0, "L2 penalty on the convolutions' kernels", minimum=0.0)
    data_format: str = option(
        "channels_last", "memory layout of the dense convolutions", choices=("channels_last", "channels_first")
    )
    remat: bool = option(False, "recompute activations in the backward pass: less memory, more time")

    def check(self):
        if self.filter_size_deepest % 2 == 0:
            raise ConfigError(f"--filter_size_deepest={self.filter_size_deepest}: must be odd")


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """Optimizer and loss"""

    optimizer: str = option("adam", "the update rule", choices=("adam", "rmsprop", "sgd", "adamw", "lamb", "lion"))
    learning_rate: float = option(3e-4, "learning rate (the peak, where a schedule varies it)", minimum=0.0)
    loss_balance_scheme: str = option(
        "light",
        "pixel weights: light = 1, 1.5, 10 for background, cosmic, neutrino; even = a third to each class; "
        "focal = (1 - p_true)^2",
        choices=("none", "light", "even", "focal"),
    )
    gradient_accumulation: int = option(1, "steps whose gradients are averaged into one update", minimum=1)


@dataclass(frozen=True)
class ExecutionConfig(Config):
    """Execution: device, precision, seed"""

    compute_mode: str = option("auto", "device; auto = a GPU if there is one", choices=("auto", "CPU", "GPU"))
    precision: str = option(
        "float32",
        "mixed = float16 with loss scaling; bfloat16 = bfloat16 compute over float32 weights",
        choices=("float32", "mixed", "bfloat16"),
    )
    xla: bool = option(True, "compile the step with XLA")
    seed: int = option(0, "seed of the weights and of the order of the data", minimum=0)
    inter_op_parallelism_threads: int = option(0, "TensorFlow's threads between operations; 0 = its choice", minimum=0)
    intra_op_parallelism_threads: int = option(0, "TensorFlow's threads inside one; 0 = its choice", minimum=0)


@dataclass(frozen=True)
class OutputConfig(Config):
    """Run: where its files are"""

    output_dir: str = option("output", "folder of all runs; a run's files are in <output_dir>/<run_id>")
    run_id: str = option("test", "name of the run; the same name again resumes it")

    def check(self):
        if not self.run_id or self.run_id in (".", "..") or "/" in self.run_id:
            raise ConfigError(f"--run_id={self.run_id!r}: must be a plain folder name")


@dataclass(frozen=True)
class TrainConfig(Config):
    """Training: how long, and what is written when"""

    iterations: int = option(
        0, "steps to train in all, a resumed run's earlier steps counted in; 0 = use --epochs", minimum=0
    )
    epochs: float = option(0.0, "passes over the data to train in all; 0 = use --iterations", minimum=0.0)
    aux_file: tuple[str, ...] = option((), "larcv3 files to validate on; none = no validation")
    aux_iterations: int = option(10, "validate on one batch of --aux_file every so many steps; 0 = never", minimum=0)
    aux_minibatch_size: int = option(0, "events of a validation batch; 0 = minibatch_size", minimum=0)
    checkpoint_iteration: int = option(500, "write a checkpoint every so many steps (and at the end)", minimum=1)
    keep_checkpoints: int = option(3, "how many of the newest checkpoints are kept", minimum=1)
    logging_iteration: int = option(1, "print a line every so many steps (where the output is no terminal)", minimum=1)
    summary_iteration: int = option(1, "write TensorBoard scalars every so many steps", minimum=1)

    def check(self):
        if bool(self.iterations) == bool(self.epochs):
            raise ConfigError("give one of --iterations and --epochs, to say how long to train")


@dataclass(frozen=True)
class WeightsConfig(Config):
    """Weights: which trained weights are used"""

    checkpoint_step: int = option(-1, "step of the run's checkpoint; -1 = the newest", minimum=-1)
    weights_location: str = option("", "a Keras .weights.h5 file to use instead of the run's checkpoint")


@dataclass(frozen=True)
class ExportConfig(Config):
    """Export"""

    export_dir: str = option("", "folder of the SavedModel; default: <output_dir>/<run_id>/saved_model")


@dataclass(frozen=True)
class DisplayConfig(Config):
    """Display: which events are drawn, and where to"""

    entries: tuple[str, ...] = option(("0",), "entries to draw, comma-separated")
    display_dir: str = option("displays", "folder of the pictures, one an event")
    display_format: str = option("png", "kind of picture", choices=("png", "pdf"))
    predict: bool = option(True, "draw the run's prediction beside image and truth")

    def check(self):
        wrong = [entry for entry in self.entries if not entry.isdigit()]
        if wrong:
            raise ConfigError(f"--entries: '{wrong[0]}' is no entry number")


@dataclass(frozen=True)
class IoTestConfig(Config):
    """Reading test"""

    read_iterations: int = option(50, "how many batches are read", minimum=1)


@dataclass(frozen=True)
class SimulateConfig(Config):
    """Simulation"""

    output: str = option("simulated.h5", "the larcv3 file to write")
    overwrite: bool = option(False, "replace the file if it exists")
    events: int = option(100, "how many events", minimum=1)
    simulation_seed: int = option(1, "names the set: the same seed gives the same events", minimum=0)
    workers: int = option(1, "processes that simulate at once; the file does not depend on it", minimum=1)


def check_image_shape(shape: ImageShape, downsample: int, network_depth: int):
    """Raises ConfigError, naming the axis, unless both axes can be halved downsample + network_depth times.

    Args:
        shape: the full-resolution shape, as the file has it.
        downsample: halvings before the network.
        network_depth: halvings inside it; 0 where there is no network.
    """
    halvings = downsample + network_depth
    for axis, size in (("height (drift time)", shape.height), ("width (wires)", shape.width)):
        if size % 2**halvings:
            most = (size & -size).bit_length() - 1
            raise ConfigError(
                f"--downsample={downsample} and --network_depth={network_depth} halve the image {halvings} times, "
                f"but its {axis} of {size} can be halved only {most} times: their sum must be at most {most}"
            )


def with_changes(config, **changes):
    """A copy of a config with some fields changed, validated again."""
    return replace(config, **changes)
