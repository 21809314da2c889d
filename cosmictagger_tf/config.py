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

# Trained networks that come with the package (training/shipped.py).
SHIPPED_WEIGHTS = ("sparse_small",)


def option(default, help: str, *, choices=None, minimum=None, maximum=None) -> Any:
    """A dataclass field that knows its help text, its allowed values and its inclusive bounds."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=default, metadata=metadata)


def flag_name(field_name: str) -> str:
    """The flag of a field: its name; a field called `from_`, because Python keeps `from` for itself, is --from."""
    return field_name.removesuffix("_")


@dataclass(frozen=True)
class Config:
    """Base of all configs: checks each field's choices and bounds, and goes to and from a plain dict."""

    def __post_init__(self):
        for f in fields(self):
            _check_value(flag_name(f.name), getattr(self, f.name), f.metadata)
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
class SkipConfig(Config):
    """Bad events: how many a command goes past"""

    skip_bad_events: int = option(
        0,
        "go past so many different events that cannot be read, and name each; the next one stops the command, as the "
        "first does with 0",
        minimum=0,
    )


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
        if self.conv_mode == "sparse" and self.data_format != "channels_last":
            raise ConfigError("--data_format: is for the dense networks; --conv_mode=sparse has lists, not images")


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """Optimizer and loss"""

    loss_balance_scheme: str = option(
        "light",
        "pixel weights: light = 1, 1.5, 10 for background, cosmic, neutrino; even = a third to each class; "
        "focal = (1 - p_true)^2",
        choices=("none", "light", "even", "focal"),
    )
    optimizer: str = option("adam", "the update rule", choices=("adam", "rmsprop", "sgd", "adamw", "lamb", "lion"))
    momentum: float = option(0.9, "momentum of sgd (Nesterov's); 0 = none", minimum=0.0, maximum=1.0)
    learning_rate: float = option(3e-4, "learning rate (the peak, where a schedule varies it)", minimum=0.0)
    lr_schedule: str = option(
        "flat",
        "the learning rate over the steps: flat; warmup_flat_decay = rises from lr_start, stays, falls exponentially "
        "to lr_floor and stays there; one_cycle = rises from lr_start, falls to lr_floor by the last step, in half "
        "cosines",
        choices=("flat", "warmup_flat_decay", "one_cycle"),
    )
    lr_start: float = option(1e-4, "learning rate of the first step, where a schedule has one", minimum=0.0)
    lr_floor: float = option(1e-4, "learning rate at the end, where a schedule has one", minimum=0.0)
    lr_warmup_epochs: float = option(1.0, "warmup_flat_decay: epochs of the rise, which is linear", minimum=0.0)
    lr_flat_epochs: float = option(20.0, "warmup_flat_decay: epochs at the peak", minimum=0.0)
    lr_decay_epochs: float = option(20.0, "warmup_flat_decay: epochs of the fall from peak to floor", minimum=0.0)
    lr_rise_fraction: float = option(
        0.3, "one_cycle: part of the training in which the rate rises", minimum=0.0, maximum=1.0
    )
    gradient_accumulation: int = option(
        1, "steps whose gradients are averaged into one update (schedules and iterations count steps)", minimum=1
    )
    clip_norm: float = option(
        0.0, "scale gradients down where the norm of all of them together is above this; 0 = never", minimum=0.0
    )
    ema_momentum: float = option(
        0.0,
        "validate, save and export a moving average of the weights: a step, average = m * average + (1 - m) * weights; "
        "0 = no average; 0.999 is usual",
        minimum=0.0,
        maximum=1.0,
    )
    freeze: tuple[str, ...] = option(
        (), "layers that are not trained, by name or pattern: 'initial*,level?_down*' (--dry_run lists the names)"
    )

    def check(self):
        if self.lr_schedule == "flat":
            return
        for name in ("lr_start", "lr_floor"):
            value = getattr(self, name)
            if value > self.learning_rate:
                raise ConfigError(f"--{name}={value}: must not be above --learning_rate={self.learning_rate}, the peak")
        if self.lr_schedule == "warmup_flat_decay" and not self.lr_floor:
            raise ConfigError("--lr_floor=0.0: an exponential decay does not reach 0; give a small number")


@dataclass(frozen=True)
class ExecutionConfig(Config):
    """Execution: device, precision, seed"""

    compute_mode: str = option("auto", "device; auto = a GPU if there is one", choices=("auto", "CPU", "GPU"))
    precision: str = option(
        "float32",
        "mixed = float16 with loss scaling; bfloat16 = bfloat16 compute over float32 weights",
        choices=("float32", "mixed", "bfloat16"),
    )
    xla: bool = option(True, "compile the step with XLA; on a CPU the dense networks are quicker without")
    seed: int = option(0, "seed of the weights and of the order of the data", minimum=0)
    deterministic: bool = option(
        False,
        "the same command gives the same bits: operations that depend on the order of threads give way to slower ones",
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
    dry_run: bool = option(
        False, "train nothing and write nothing: print the configuration, the network, and what a step will take"
    )
    init_from: str = option(
        "",
        "begin with the weights of another run (its folder), of a .weights.h5 file, or with those that come with the "
        "package (by name: sparse_small); a resumed run ignores it",
    )
    augment: bool = option(
        False, "change each event at random: mirrored at the cathode, shifted along time, other gains, more noise"
    )
    aux_file: tuple[str, ...] = option((), "larcv3 files to validate on; none = no validation")
    aux_iterations: int = option(
        10, "validate on a few batches of --aux_file every so many steps; 0 = never", minimum=0
    )
    aux_iterations_batches: int = option(1, "how many batches that are", minimum=1)
    aux_epochs: int = option(
        1,
        "validate on the whole --aux_file every so many epochs and after the last step, and keep the checkpoint with "
        "the best mean IoU; 0 = never",
        minimum=0,
    )
    aux_minibatch_size: int = option(0, "events of a validation batch; 0 = minibatch_size", minimum=0)
    checkpoint_iteration: int = option(500, "write a checkpoint every so many steps (and at the end)", minimum=1)
    keep_checkpoints: int = option(3, "how many of the newest checkpoints are kept, beside the best", minimum=1)
    logging_iteration: int = option(1, "print a line every so many steps (where the output is no terminal)", minimum=1)
    summary_iteration: int = option(1, "write TensorBoard scalars every so many steps", minimum=1)
    no_summary_images: bool = option(False, "leave the pictures out of TensorBoard")
    summary_image_iteration: int = option(
        100,
        "draw input, label and prediction of one event for TensorBoard every so many steps (and at the end)",
        minimum=1,
    )
    profile: tuple[str, ...] = option(
        (), "START,STOP: trace these steps for TensorBoard's profile tab; the first few compile, so begin after them"
    )
    steps_per_execution: int = option(
        1, "steps that TensorFlow runs at a stretch; what is due inside a stretch happens at its end", minimum=1
    )

    def check(self):
        if bool(self.iterations) == bool(self.epochs):
            raise ConfigError("give one of --iterations and --epochs, to say how long to train")
        self.profiled_steps()
        stretch = self.steps_per_execution
        due = {"checkpoint_iteration": self.checkpoint_iteration}
        due |= {"aux_iterations": self.aux_iterations} if self.aux_file else {}
        for name, every in due.items():
            if every % stretch:
                raise ConfigError(
                    f"--steps_per_execution={stretch}: --{name}={every} must be a multiple of it, so that it comes at "
                    "exact steps"
                )

    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last step to trace; None where there is nothing to trace."""
        if not self.profile:
            return None
        if len(self.profile) != 2 or not all(text.isdigit() for text in self.profile):
            raise ConfigError(f"--profile={','.join(self.profile)}: must be two steps, as in --profile=20,25")
        first, last = map(int, self.profile)
        if not 1 <= first <= last:
            raise ConfigError(f"--profile={first},{last}: the first step must be at least 1 and not after the last")
        return first, last


@dataclass(frozen=True)
class WeightsConfig(Config):
    """Weights: which trained weights are used"""

    weights: str = option(
        "run",
        "run = those of the run that --run_id names; else a network that comes with the package, for SBND's images at "
        "full resolution (docs/model_card.md)",
        choices=("run", *SHIPPED_WEIGHTS),
    )
    checkpoint_step: int = option(
        -1, "step of the run's checkpoint; -1 = the newest, -2 = the best by validation", minimum=-2
    )
    weights_location: str = option("", "a Keras .weights.h5 file to use instead of the run's checkpoint")

    def check(self):
        if self.weights != "run" and (self.weights_location or self.checkpoint_step != -1):
            raise ConfigError(
                f"--weights={self.weights}: comes with the package: leave out --weights_location and --checkpoint_step"
            )


@dataclass(frozen=True)
class PredictConfig(Config):
    """Prediction: the file of scores"""

    output: str = option("predicted.h5", "the larcv3 file to write")
    overwrite: bool = option(False, "replace the file if it exists")
    producer_neutrino_score: str = option("neutrino_prediction", "producer of the sparse2d product of neutrino scores")
    producer_cosmic_score: str = option("cosmic_prediction", "producer of the sparse2d product of cosmic scores")

    def check(self):
        if self.producer_neutrino_score == self.producer_cosmic_score:
            raise ConfigError("--producer_neutrino_score and --producer_cosmic_score must differ")


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Evaluation: what is worked out and written beside the table"""

    report: str = option("", "the HTML report, .json and .csv beside it; default: evaluation.html in the run's folder")
    html: bool = option(True, "draw the HTML report")
    bootstrap: int = option(1000, "resamplings of the events for the 95 % intervals; 0 = no intervals", minimum=0)
    bootstrap_seed: int = option(0, "seed of the resampling", minimum=0)
    producer_particle: str = option("sbndneutrino", "producer of the particle product that has the true neutrino")
    event_cut_pixels: int = option(5, "event cut: more predicted neutrino pixels than this in every plane", minimum=0)
    event_cut_rows: float = option(
        50.0, "event cut: mean drift times of the planes agree within so many full-resolution rows", minimum=0.0
    )

    def check(self):
        if self.report and not self.report.endswith(".html"):
            raise ConfigError(f"--report={self.report}: must end in .html")


@dataclass(frozen=True)
class ImportConfig(Config):
    """Import: the weights that are taken over"""

    from_: str = option(
        "", "weights of the reference's PyTorch network: a Lightning .ckpt, a .pt, or an .npz of arrays"
    )

    def check(self):
        if not self.from_.endswith((".ckpt", ".pt", ".pth", ".npz")):
            raise ConfigError(f"--from={self.from_}: give a file that ends in .ckpt, .pt, .pth or .npz")


@dataclass(frozen=True)
class ExportConfig(Config):
    """Export"""

    export_dir: str = option("", "where to; default: saved_model or model.keras in <output_dir>/<run_id>")
    export_format: str = option(
        "saved_model",
        "saved_model = for LArSoft, C, C++, any Python; keras = the network alone, one .keras file",
        choices=("saved_model", "keras"),
    )
    export_preprocessing: bool = option(
        False, "the exported model takes images at the file's resolution and downsamples them itself"
    )

    def check(self):
        if self.export_format == "keras" and self.export_preprocessing:
            raise ConfigError("--export_format=keras holds the network alone: leave out --export_preprocessing")


@dataclass(frozen=True)
class DisplayConfig(Config):
    """Display: which events are drawn, and where to"""

    entries: tuple[str, ...] = option(("0",), "entries to draw, comma-separated")
    display_dir: str = option("displays", "folder of the pictures, one an event")
    display_format: str = option("png", "kind of picture; html = a page to zoom in", choices=("png", "pdf", "html"))
    predict: bool = option(True, "draw the run's prediction beside image and truth")

    def check(self):
        wrong = [entry for entry in self.entries if not entry.isdigit()]
        if wrong:
            raise ConfigError(f"--entries: '{wrong[0]}' is no entry number")


@dataclass(frozen=True)
class BenchmarkConfig(Config):
    """Benchmark: what is measured, and how often"""

    json: str = option("", "write the results there, with machine, versions and configuration; none = no file")
    repeats: int = option(5, "calls that are timed, after one that is not", minimum=1)
    batch_sizes: tuple[str, ...] = option(("1",), "events a batch, comma-separated")
    reading_steps: int = option(
        20, "steps of training with reading (and ten times as many of reading alone); 0 = leave both out", minimum=0
    )
    sites: tuple[str, ...] = option((), "also time batches of so many active pixels, comma-separated; none = empty")
    most_trained_sites: int = option(240_000, "above so many active pixels only the forward pass is timed", minimum=0)
    dense_modes: tuple[str, ...] = option((), "also time these dense networks (2D, 3D), comma-separated; none = empty")
    dense_downsample: int = option(2, "their images are divided by 2^dense_downsample", minimum=0, maximum=8)

    def check(self):
        for name in ("batch_sizes", "sites"):
            wrong = [value for value in getattr(self, name) if not value.isdigit() or int(value) < 1]
            if wrong:
                raise ConfigError(f"--{name}: '{wrong[0]}' is no number of 1 or more")
        if not self.batch_sizes:
            raise ConfigError("--batch_sizes: give at least one")
        wrong = sorted(set(self.dense_modes) - {"2D", "3D"})
        if wrong:
            raise ConfigError(f"--dense_modes={wrong[0]}: must be 2D or 3D")


@dataclass(frozen=True)
class IoTestConfig(Config):
    """Reading test"""

    read_iterations: int = option(50, "how many batches are read", minimum=1)
    compare_readers: bool = option(
        False, "compare this reader with the larcv library's queue, at --downsample 0 and 2 and batches of 1, 4 and 16"
    )


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
        wrong = [count for count in self.rank_counts if not count.isdigit() or int(count) < 1]
        if wrong:
            raise ConfigError(f"--rank_counts: '{wrong[0]}' is no number of ranks")


@dataclass(frozen=True)
class SimulateConfig(Config):
    """Simulation"""

    output: str = option("simulated.h5", "the larcv3 file to write")
    overwrite: bool = option(False, "replace the file if it exists")
    events: int = option(100, "how many events", minimum=1)
    simulation_seed: int = option(1, "names the set: the same seed gives the same events", minimum=0)
    workers: int = option(1, "processes that simulate at once; the file does not depend on it", minimum=1)
    compare: str = option(
        "", "a larcv3 file with labels: write no file, but print and draw how --events simulated events compare with it"
    )
    comparison_picture: str = option("comparison.png", "the picture that --compare draws")

    def check(self):
        if not self.comparison_picture.endswith(".png"):
            raise ConfigError(f"--comparison_picture={self.comparison_picture}: must end in .png")


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
