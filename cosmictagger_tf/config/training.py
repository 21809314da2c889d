"""Options of a training: the optimizer and the loss, how long, and what is written when."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig(Config):
    """Optimizer and loss"""

    loss_balance_scheme: str = option(
        "light",
        "pixel weights: light = 1, 1.5, 10 for background, cosmic, neutrino; even = a third to each class; "
        "focal = (1 - p_true)^2",
        choices=("none", "light", "even", "focal"),
    )
    event_loss_weight: float = option(
        0.01, "weight of the event head's loss beside that of the pixels (the reference's weight)", minimum=0.0
    )
    vertex_loss_weight: float = option(
        1.0, "weight of the vertex head's loss beside that of the pixels (the reference's weight)", minimum=0.0
    )
    vertex_detection_weight: float = option(
        0.1, "in the vertex head's loss, weight of which cells have a vertex (the reference's l_det)", minimum=0.0
    )
    vertex_offset_weight: float = option(
        0.1, "in the vertex head's loss, weight of where in its cell a vertex is (the reference's l_coord)", minimum=0.0
    )
    optimizer: str = option(
        "adam",
        "the update rule; muon = kernels by their orthogonalized momentum, all else by adam",
        choices=("adam", "rmsprop", "sgd", "adamw", "lamb", "lion", "muon"),
    )
    adamw_decay: float = option(
        0.004,
        "adamw: of each kernel a step takes off so much, times the learning rate; biases and normalisations stay",
        minimum=0.0,
    )
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
        if self.ema_momentum == 1:
            raise ConfigError(
                "--ema_momentum=1.0: the average would stay what it was after the first step; 0.999 is usual"
            )
        if self.lr_schedule == "flat":
            return
        for name in ("lr_start", "lr_floor"):
            value = getattr(self, name)
            if value > self.learning_rate:
                raise ConfigError(f"--{name}={value}: must not be above --learning_rate={self.learning_rate}, the peak")
        if self.lr_schedule == "warmup_flat_decay" and not self.lr_floor:
            raise ConfigError("--lr_floor=0.0: an exponential decay does not reach 0; give a small number")


@dataclass(frozen=True)
class TrainConfig(Config):
    """Training: how long, and what is written when"""

    iterations: int = option(
        0, "steps to train in all, a resumed run's earlier steps counted in; 0 = use --epochs", minimum=0
    )
    epochs: float = option(0.0, "passes over the data to train in all; 0 = use --iterations", minimum=0.0, maximum=1e6)
    dry_run: bool = option(
        False, "train nothing and write nothing: print the configuration, the network, and what a step will take"
    )
    init_from: str = option(
        "",
        "begin with the weights of another run (its folder), of a .weights.h5 file, or with those that come with the "
        "package (by name: sparse_small, sparse_events); a resumed run ignores it",
        path=True,
    )
    init_new_layers: bool = option(
        False,
        "with --init_from: layers that those weights lack, or have in another shape, begin fresh; otherwise such "
        "weights are refused",
    )
    augment: bool = option(
        False,
        "change each event at random: other gains, more noise and, where images have SBND's size, mirrored at the "
        "cathode and shifted along time",
    )
    aux_file: tuple[str, ...] = option((), "larcv3 files to validate on; none = no validation", path=True)
    aux_iterations: int = option(
        10, "validate on a few batches of --aux_file every so many steps; 0 = never", minimum=0
    )
    aux_iterations_batches: int = option(1, "how many batches that are", minimum=1)
    aux_epochs: int = option(
        1,
        "validate on the whole --aux_file every so many epochs and after the last step, and keep the checkpoint with "
        "the best mean IoU (with --event_head the best selection, see docs/training.md); 0 = never",
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
        1, "steps that TensorFlow runs in one execution; what is due within it happens at its end", minimum=1
    )

    def check(self):
        if bool(self.iterations) == bool(self.epochs):
            raise ConfigError("give one of --iterations and --epochs, to set how long to train")
        if self.init_new_layers and not self.init_from:
            raise ConfigError("--init_new_layers: goes with --init_from, whose layers it completes")
        self.profiled_steps()
        steps = self.steps_per_execution
        due = {"checkpoint_iteration": self.checkpoint_iteration}
        due |= {"aux_iterations": self.aux_iterations} if self.aux_file else {}
        for name, every in due.items():
            if every % steps:
                raise ConfigError(
                    f"--steps_per_execution={steps}: --{name}={every} must be a multiple of it, so that it comes at "
                    "exact steps"
                )

    def profiled_steps(self) -> tuple[int, int] | None:
        """First and last step to trace; None where there is nothing to trace."""
        if not self.profile:
            return None
        if len(self.profile) != 2 or not all(text.isdecimal() for text in self.profile):
            raise ConfigError(f"--profile={','.join(self.profile)}: must be two steps, as in --profile=20,25")
        first, last = map(int, self.profile)
        if not 1 <= first <= last:
            raise ConfigError(f"--profile={first},{last}: the first step must be at least 1 and not after the last")
        return first, last


@dataclass(frozen=True)
class ImportConfig(Config):
    """Import: the weights that are taken over"""

    from_: str = option(
        "",
        "weights of the reference's PyTorch network: a Lightning .ckpt, a .pt, or an .npz of arrays",
        path=True,
    )

    def check(self):
        if not self.from_.endswith((".ckpt", ".pt", ".pth", ".npz")):
            raise ConfigError(
                f"--from={self.from_}: give a file that ends in .ckpt, .pt, .pth or .npz (PyTorch's; TensorFlow's "
                "checkpoints are not taken over yet)"
            )
