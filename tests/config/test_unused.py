"""Options that do nothing are named, once, with the reason; those that do something are not."""

import importlib
from dataclasses import fields

import pytest

from cosmictagger_tf.cli.flags import parse
from cosmictagger_tf.config import RUN, flag_name
from cosmictagger_tf.config.unused import RULES, describe_unused

COMMANDS = ("train", "evaluate", "predict", "display", "export", "simulate", "iotest", "benchmark", "scaling")
COMMANDS += ("calibrate", "import_weights")
FACTS = {"start": 0, "total": 3, "resumed": False, "many_ranks": False, "backend": "tensorflow"}


def unused(command: str, *flags: str, **facts) -> str | None:
    groups = importlib.import_module(f"cosmictagger_tf.{command}").GROUPS
    needed = {"train": ["--iterations=3"], "import_weights": ["--from=a.npz"]}.get(command, [])
    parsed = parse([*needed, *flags], groups, () if command in ("train", "simulate") else RUN)
    return describe_unused(command, parsed.chosen, parsed.configs, explicit=parsed.explicit, **{**FACTS, **facts})


def test_rules_name_options_that_there_are():
    named = {name for rules in RULES.values() for rule in rules for name in rule.names.split()}
    groups = [group for command in COMMANDS for group in importlib.import_module(f"cosmictagger_tf.{command}").GROUPS]
    assert named <= {flag_name(f.name) for group in groups for f in fields(group)} | {"preset"}
    assert set(RULES) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_nobodys_choice(command):
    assert unused(command) is None


@pytest.mark.parametrize(
    ("command", "flags", "names"),
    [
        ("train", "--profile=10,12", "profile"),
        ("train", "--lr_start=1e-5 --lr_floor=1e-5", "lr_start lr_floor"),
        ("train", "--lr_schedule=one_cycle --lr_floor=0 --lr_rise_fraction=0 --lr_start=1e-5", "lr_start"),
        ("train", "--lr_schedule=one_cycle --lr_warmup_epochs=2", "lr_warmup_epochs"),
        ("train", "--lr_schedule=warmup_flat_decay --lr_rise_fraction=0.1", "lr_rise_fraction"),
        ("train", "--momentum=0.9 --adamw_decay=0.1", "momentum adamw_decay"),
        (
            "train",
            "--gradient_compression=float16 --num_groups=2 --lr_scaling=sqrt --sync_batch_norm",
            "num_groups gradient_compression sync_batch_norm lr_scaling",
        ),
        (
            "train",
            "--aux_iterations=2 --aux_epochs=2 --aux_minibatch_size=1",
            "aux_iterations aux_epochs aux_minibatch_size",
        ),
        ("train", "--aux_file=a.h5 --aux_iterations=0 --aux_iterations_batches=2", "aux_iterations_batches"),
        ("train", "--aux_file=a.h5 --aux_iterations=4", "aux_iterations"),
        ("train", "--deepest_3d=bottleneck", "deepest_3d"),
        ("train", "--conv_mode=3D --filter_size_deepest=3", "filter_size_deepest"),
        ("train", "--conv_mode=sparse --block_concat --deepest_3d=bottleneck", "deepest_3d"),
        ("train", "--network_depth=1 --blocks_by_level=1 --blocks_per_layer=1", "blocks_per_layer"),
        ("train", "--normalization=layer --norm_statistics=pooled", "norm_statistics"),
        ("train", "--xla --deterministic", "xla"),
        ("train", "--summary_image_iteration=5 --no_summary_images", "summary_image_iteration"),
        ("train", "--synthetic --reader=larcv --max_entries=5", "reader max_entries"),
        ("evaluate", "--weight_decay=0.1 --remat --seed=1", "weight_decay remat seed"),
        ("evaluate", "--weights=sparse_small --run_id=first", "run_id"),
        ("evaluate", "--weights_location=a --checkpoint_step=3", "checkpoint_step"),
        ("evaluate", "--weights_location=a --run_id=b --preset=a21", "run_id"),
        ("evaluate", "--bootstrap=0 --bootstrap_seed=3", "bootstrap_seed"),
        ("calibrate", "--background_shift=1 --working_point=selection", "background_shift working_point"),
        ("predict", "--producer_label=other", "producer_label"),
        ("predict", "--clean_fringe --producer_cleaned_image=a", "clean_fringe producer_cleaned_image"),
        ("display", "--nopredict --run_id=first --preset=a21 --noxla", "run_id preset xla"),
        ("display", "--minibatch_size=4", "minibatch_size"),
        ("export", "--precision=mixed --max_entries=3 --reader=larcv", "precision max_entries reader"),
        ("simulate", "--compare=a.h5 --overwrite", "overwrite"),
        (
            "simulate",
            "--comparison_picture=a.png --neutrinos=0 --neutral_currents=1",
            "comparison_picture neutral_currents",
        ),
        ("iotest", "--compare_readers --downsample=2", "downsample"),
        ("iotest", "--compare_readers --truth", "truth"),
        ("iotest", "--producer_vertex=a", "producer_vertex"),
        ("simulate", "--neutrinos=0 --cosmic_only=0.5", "cosmic_only"),
        ("benchmark", "--lr_schedule=one_cycle --lr_floor=0 --minibatch_size=4", "lr_schedule lr_floor minibatch_size"),
        ("benchmark", "--dense_downsample=1 --most_trained_sites=1", "dense_downsample most_trained_sites"),
        (
            "scaling",
            "--file=a.h5 --lr_scaling=linear --step_seconds=1 --device_tflops=2",
            "file lr_scaling device_tflops",
        ),
        ("import_weights", "--max_entries=2 --remat", "max_entries remat"),
    ],
)
def test_options_without_effect_are_named(command, flags, names):
    line = unused(command, *flags.split())
    assert line is not None and "\n" not in line
    for name in names.split():
        assert line.count(f"--{name} (") + line.count(f"--{name},") == 1, line
    others = {flag.partition("=")[0].removeprefix("--").removeprefix("no") for flag in flags.split()} - set(
        names.split()
    )
    for name in others:
        assert f"--{name} (" not in line and f"--{name}," not in line, line


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", "--profile=2,9 --lr_schedule=one_cycle --lr_start=1e-5 --lr_floor=1e-5 --lr_rise_fraction=0.1"),
        ("train", "--optimizer=sgd --momentum=0.5 --xla --aux_file=a.h5 --aux_iterations=2 --aux_epochs=0 --seed=1"),
        ("train", "--conv_mode=3D --deepest_3d=bottleneck --filter_size_deepest=3 --remat --weight_decay=0.1"),
        ("train", "--init_from=a --init_new_layers --summary_image_iteration=5 --gradient_accumulation=2"),
        ("evaluate", "--noxla --deterministic --bootstrap=10"),
        ("evaluate", "--weights_location=a --run_id=b --minibatch_size=4 --bootstrap_seed=1 --noxla"),
        ("display", "--run_id=a --checkpoint_step=2 --preset=a21 --precision=mixed"),
        ("export", "--file=a.h5 --reader=larcv --run_id=a"),
        ("benchmark", "--optimizer=sgd --momentum=0.5 --sites=100 --most_trained_sites=1"),
        ("scaling", "--gradient_compression=float16 --minibatch_size=4 --downsample=2"),
        ("simulate", "--output=a.h5 --neutral_currents=1"),
    ],
)
def test_options_with_an_effect_are_not(command, flags):
    assert unused(command, *flags.split()) is None


def test_what_is_known_only_when_a_training_begins():
    assert "--init_from, --init_new_layers (" in unused("train", "--init_from=a", "--init_new_layers", resumed=True)
    assert "--profile (" in unused("train", "--profile=1,2", start=2)
    assert unused("train", "--summary_image_iteration=5", backend="jax") is None
    assert unused("predict", "--deterministic", backend="jax") is None
    assert "--intra_op_parallelism_threads (JAX" in unused("predict", "--intra_op_parallelism_threads=2", backend="jax")
    assert "--xla (PyTorch" in unused("train", "--xla", backend="torch")
    assert unused("train", "--num_groups=2", "--gradient_compression=float16", many_ranks=True) is None
    assert "--lr_scaling_epochs (" in unused("train", "--lr_scaling_epochs=2", many_ranks=True)
    assert "--xla (" in unused("train", "--xla", "--sync_batch_norm", many_ranks=True)


def test_a_flagfile_is_named_for_where_it_serves_one_command_and_changes_something(tmp_path):
    (tmp_path / "a.flags").write_text("--lr_floor=1e-5\n--momentum=0.9\n--weight_decay=0.1\n--preset=a21\n")
    flagfile = f"--flagfile={tmp_path}/a.flags"
    line = unused("train", flagfile)
    assert "--lr_floor" in line and "momentum" not in line
    assert unused("evaluate", flagfile) is None
    assert "--momentum" in unused("train", flagfile, "--momentum=0.9")
