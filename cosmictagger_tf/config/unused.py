"""Options that are accepted and do nothing, because of the command or of other options: which, and why.

A rule names options, and when they do nothing. What contradicts itself is refused by the configs.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, NamedTuple

from cosmictagger_tf.config.base import Config, flag_name, option_values
from cosmictagger_tf.config.data import TruthConfig
from cosmictagger_tf.config.execution import ExecutionConfig, OutputConfig
from cosmictagger_tf.config.inference import WeightsConfig
from cosmictagger_tf.config.network import NetworkConfig


class Rule(NamedTuple):
    """When options do nothing.

    Attributes:
        names: of the options, blanks between them.
        why: the reason, for the user.
        when: takes the values of all options and the facts (see describe_unused) as attributes; None = always.
    """

    names: str
    why: str
    when: Callable[[Any], bool] | None = None


def names_of(*groups: type[Config]) -> str:
    """The options of config classes."""
    return " ".join(flag_name(f.name) for group in groups for f in fields(group))


def neither_head(options) -> bool:
    """Whether a network has no head."""
    return not options.event_head and not options.vertex_head


TRUTH = names_of(TruthConfig)
SYNTHETIC = Rule(
    f"reader producer_image producer_label first_entry max_entries skip_bad_events {TRUTH}",
    "--synthetic reads no file",
    lambda o: o.synthetic,
)
ARCHITECTURE = (
    Rule(
        "filter_size_deepest",
        "the deepest level has [3,3,3] convolutions here",
        lambda o: o.conv_mode != "2D" and o.deepest_3d == "kernel_3x3x3" and not o.block_concat,
    ),
    Rule("filter_size_deepest", "--blocks_deepest_layer=0", lambda o: not o.blocks_deepest_layer),
    Rule("deepest_3d", "--conv_mode=2D", lambda o: o.conv_mode == "2D"),
    Rule("deepest_3d", "--block_concat keeps the planes apart", lambda o: o.conv_mode != "2D" and o.block_concat),
    Rule("blocks_per_layer", "--blocks_by_level gives it for each", lambda o: o.blocks_by_level),
    Rule("norm_statistics", "is for --normalization=batch", lambda o: o.normalization != "batch"),
    Rule("event_filters event_blocks event_detach", "there is no --event_head", lambda o: not o.event_head),
    Rule(
        "vertex_filters vertex_blocks vertex_detach",
        "there is no --vertex_head",
        lambda o: not o.vertex_head,
    ),
    Rule(
        "vertex_depth",
        "there is no --vertex_head",
        lambda o: not o.vertex_head and not (o.event_head and o.head_design == "sites"),
    ),
    Rule(
        "head_design",
        "there is neither --event_head nor --vertex_head",
        neither_head,
    ),
)
HEAD_LOSSES = (
    Rule(TRUTH, "is for --event_head and --vertex_head", neither_head),
    Rule("event_loss_weight", "there is no --event_head", lambda o: not o.event_head),
    Rule(
        "vertex_loss_weight vertex_detection_weight vertex_offset_weight",
        "there is no --vertex_head",
        lambda o: not o.vertex_head,
    ),
)
UPDATE_RULE = (
    Rule("momentum", "is for --optimizer=sgd", lambda o: o.optimizer != "sgd"),
    Rule("adamw_decay", "is for --optimizer=adamw", lambda o: o.optimizer != "adamw"),
)
SCHEDULE = (
    Rule("lr_start lr_floor", "--lr_schedule=flat", lambda o: o.lr_schedule == "flat"),
    Rule(
        "lr_warmup_epochs lr_flat_epochs lr_decay_epochs",
        "is for --lr_schedule=warmup_flat_decay",
        lambda o: o.lr_schedule != "warmup_flat_decay",
    ),
    Rule("lr_rise_fraction", "is for --lr_schedule=one_cycle", lambda o: o.lr_schedule != "one_cycle"),
    Rule(
        "lr_start",
        "--lr_warmup_epochs=0 leaves out the rise",
        lambda o: o.lr_schedule == "warmup_flat_decay" and not o.lr_warmup_epochs,
    ),
    Rule(
        "lr_start",
        "--lr_rise_fraction=0 leaves out the rise",
        lambda o: o.lr_schedule == "one_cycle" and not o.lr_rise_fraction,
    ),
)
XLA = Rule(
    "xla", "--deterministic leaves XLA out", lambda o: o.xla is True and o.deterministic and o.backend == "tensorflow"
)
TORCH = Rule("xla", "PyTorch computes operation by operation", lambda o: o.xla is True and o.backend == "torch")
TRAINING = (
    Rule(
        "init_from init_new_layers", "the run is resumed from its own checkpoint", lambda o: o.resumed and o.init_from
    ),
    Rule(
        "aux_iterations aux_iterations_batches aux_epochs aux_minibatch_size",
        "there is no --aux_file",
        lambda o: not o.aux_file,
    ),
    Rule("aux_iterations_batches", "--aux_iterations=0", lambda o: o.aux_file and not o.aux_iterations),
    Rule("aux_iterations", "the run ends before", lambda o: o.aux_file and o.aux_iterations > o.total),
    Rule("summary_image_iteration", "--no_summary_images", lambda o: o.no_summary_images),
    Rule(
        "profile",
        "the run has none of these steps",
        lambda o: o.profile and (int(o.profile[0]) > o.total or int(o.profile[1]) <= o.start),
    ),
    Rule(
        "num_groups gradient_compression sync_batch_norm lr_scaling lr_scaling_epochs",
        "there is one rank",
        lambda o: not o.many_ranks,
    ),
    Rule("lr_scaling_epochs", "--lr_scaling=none", lambda o: o.many_ranks and o.lr_scaling == "none"),
    Rule("xla", "--sync_batch_norm leaves XLA out", lambda o: o.many_ranks and o.sync_batch_norm),
)
BACKEND = Rule(
    "inter_op_parallelism_threads intra_op_parallelism_threads",
    "JAX takes all cores that it may use",
    lambda o: o.backend == "jax",
)
TRAINED = (
    BACKEND,
    TORCH,
    Rule("weight_decay remat seed", "nothing is trained here"),
    Rule("output_dir run_id", "--weights names those of the package", lambda o: o.weights != "run"),
    Rule("checkpoint_step", "--weights_location names the weights", lambda o: o.weights_location),
    Rule(
        "output_dir run_id",
        "--weights_location and the network's flags give all",
        lambda o: o.weights_location and o.explicit.keys() & {f.name for f in fields(NetworkConfig)},
    ),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "train": (SYNTHETIC, *ARCHITECTURE, *HEAD_LOSSES, *UPDATE_RULE, *SCHEDULE, XLA, TORCH, *TRAINING),
    "evaluate": (
        SYNTHETIC,
        *TRAINED,
        XLA,
        Rule("bootstrap_seed", "--bootstrap=0", lambda o: not o.bootstrap),
    ),
    "calibrate": (
        SYNTHETIC,
        *TRAINED,
        XLA,
        Rule("background_shift working_point", "the working points are what is chosen"),
    ),
    "predict": (
        *TRAINED,
        XLA,
        Rule("producer_label", "labels are not read"),
        Rule("clean_fringe producer_cleaned_image", "there is no --clean", lambda o: not o.clean),
    ),
    "display": (
        SYNTHETIC,
        Rule(
            f"preset {names_of(OutputConfig, WeightsConfig, NetworkConfig, ExecutionConfig)}",
            "--nopredict needs no network",
            lambda o: not o.predict,
        ),
        *TRAINED,
        XLA,
        Rule("minibatch_size", "events are drawn one by one"),
    ),
    "export": (
        *TRAINED,
        Rule("precision xla deterministic", "a model is exported in float32, and computes elsewhere"),
        Rule(
            "background_shift working_point",
            "--export_format=keras holds the network alone",
            lambda o: o.export_format == "keras",
        ),
        Rule("synthetic first_entry max_entries minibatch_size", "no event is read"),
        Rule("reader producer_image producer_label", "there is no --file", lambda o: not o.file),
    ),
    "simulate": (
        Rule("output overwrite workers", "--compare writes no events", lambda o: o.compare),
        Rule("comparison_picture", "is for --compare", lambda o: not o.compare),
        Rule("neutral_currents cosmic_only", "--neutrinos=0", lambda o: not o.neutrinos),
    ),
    "iotest": (
        SYNTHETIC,
        Rule("downsample minibatch_size", "--compare_readers has its own", lambda o: o.compare_readers),
        Rule("truth", "--compare_readers reads pixels alone", lambda o: o.compare_readers),
        Rule(TRUTH, "is for --truth", lambda o: not o.truth),
    ),
    "benchmark": (
        SYNTHETIC,
        *ARCHITECTURE,
        *HEAD_LOSSES,
        *UPDATE_RULE,
        BACKEND,
        XLA,
        Rule("minibatch_size", "--batch_sizes gives it"),
        Rule(f"lr_schedule freeze {' '.join(rule.names for rule in SCHEDULE)}", "the step is timed as it begins"),
        Rule(
            f"preset batch_sizes repeats reading_steps sites dense_modes {names_of(NetworkConfig, ExecutionConfig)}",
            "--startup runs commands with flags of their own",
            lambda o: o.startup,
        ),
        Rule("against", "is for --startup", lambda o: not o.startup),
        Rule("most_trained_sites", "is for --sites", lambda o: not o.sites),
        Rule("dense_downsample", "is for --dense_modes", lambda o: not o.dense_modes),
    ),
    "scaling": (
        *ARCHITECTURE,
        Rule("file synthetic reader producer_image producer_label first_entry max_entries", "nothing is read"),
        Rule("distributed num_groups sync_batch_norm lr_scaling lr_scaling_epochs", "nothing is trained"),
        Rule("minibatch_size device_tflops", "--step_seconds gives it", lambda o: o.step_seconds),
    ),
    "import_weights": (
        *ARCHITECTURE,
        Rule("synthetic first_entry max_entries minibatch_size", "no event is read"),
        Rule("reader", "there is no --file", lambda o: not o.file),
        Rule("weight_decay remat", "nothing is trained here"),
    ),
}


def describe_unused(command: str, chosen: frozenset[str], configs: Iterable[Config], **facts) -> str | None:
    """A line with the options that the user chose and that do nothing, and the reasons; None where there are none.

    Args:
        command: a key of RULES.
        chosen: names of options (flags.Parsed.chosen).
        configs: all of the command.
        facts: backend; explicit (flags.Parsed.explicit), but of train start and total (steps), resumed, many_ranks.
    """
    options = SimpleNamespace(**option_values(configs), **facts)
    reasons: dict[str, str] = {}
    for rule in RULES.get(command, ()):
        names = [name for name in rule.names.split() if name in chosen and name not in reasons]
        if names and (rule.when is None or rule.when(options)):
            reasons |= dict.fromkeys(names, rule.why)
    named = [
        f"{', '.join(f'--{name}' for name in reasons if reasons[name] == why)} ({why})"
        for why in dict.fromkeys(reasons.values())
    ]
    return f"without effect here: {'; '.join(named)}" if named else None
