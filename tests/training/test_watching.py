"""What a user sees of a run: the terminal, TensorBoard, the run's folder, --dry_run."""

import contextlib
import io
import json
import re
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from cosmictagger_tf.cli.flags import parse
from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.runs import flag_lines
from cosmictagger_tf.train import GROUPS
from cosmictagger_tf.training import tensorboard
from cosmictagger_tf.training.callbacks import FiniteStop, StepCallback
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.dry_run import layer_names, network_table
from cosmictagger_tf.training.pictures import charge_picture, class_picture
from cosmictagger_tf.training.recorders import SHOWN, CsvHistory, Terminal
from cosmictagger_tf.training.speed import Progress, is_due
from cosmictagger_tf.training.step_cost import step_cost
from tests.commands import ROOT, TINY, Screen, hdf5_arrays, refusal, run_module
from tests.training.small import make_batches, make_model


def record(step, split="train"):
    speed = {"images_per_second": 2.5, "waiting": 0.1, "seconds_left": 3723.0, "learning_rate": 0.1}
    return {"split": split, "step": step, **dict.fromkeys(SHOWN, 0.5), **(speed if split == "train" else {})}


def on_screen(monkeypatch, columns: int, records) -> list[str]:
    """The lines that a terminal was given, without its control sequences."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    terminal = Terminal(10, 1, screen)
    for each in records:
        terminal.show_step(each["step"])
        terminal.write(each)
    terminal.close()
    return [line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", screen.getvalue()))]


def test_a_terminal_shows_a_bar_and_the_lines_of_validations(monkeypatch):
    lines = on_screen(monkeypatch, 200, [record(1), record(5), record(5, "validation"), record(10)])
    assert sum(line.startswith("validation 5/10  loss 0.5000") for line in lines) == 1
    assert not any(line.startswith("train") for line in lines)
    bar = [line for line in lines if line][-1]
    assert bar.startswith("10/10 ━━━")
    assert bar.endswith("loss 0.5000  mean IoU 0.5000  2.50 images/s  waiting 10.0%  1:02:03 left")


def test_a_narrow_terminal_is_not_wrapped(monkeypatch):
    lines = on_screen(monkeypatch, 50, [record(5)])
    assert max(map(len, lines)) <= 50 and any(line.startswith("5/10") for line in lines)


def test_elsewhere_there_are_plain_lines_every_so_many_steps():
    stream = io.StringIO()
    terminal = Terminal(10, 3, stream)
    for step in range(1, 11):
        terminal.write(record(step))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["3/10", "6/10", "9/10", "10/10"]
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_lines_come_also_with_several_steps_per_execution():
    stream = io.StringIO()
    terminal = Terminal(12, 5, stream)
    for step in (4, 8, 12):
        terminal.write(record(step))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["8/12", "12/12"]


def test_a_resumed_history_drops_what_comes_after(tmp_path):
    file = tmp_path / "history.csv"
    for resume, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        history = CsvHistory(file, ["split", "step", "loss"], resume)
        for step in steps:
            history.write(record(step))
        history.close()
    assert [line.split(",")[1] for line in file.read_text().splitlines()] == ["step", "1", "2", "3", "4"]


def test_pictures_have_readable_colours():
    classes = class_picture(np.array([[0, 1, 2]]))
    assert classes.dtype == np.uint8 and classes[0].tolist() == [[255, 255, 255], [0, 114, 178], [213, 94, 0]]
    charge = charge_picture(np.array([[0.0, 5.0, 50.0, 500.0]]))[0].astype(int)
    assert charge[0].tolist() == [255, 255, 255]
    brightness = charge.sum(axis=1)
    assert (np.diff(brightness) < 0).all(), "darker, the more charge"
    assert (charge_picture(np.zeros((2, 3))) == 255).all()


@pytest.mark.parametrize("profile", ["5", "5,x", "0,3", "4,3", "1,2,3"])
def test_impossible_profiles_are_refused(profile):
    with pytest.raises(ConfigError, match=f"--profile={profile}"):
        TrainConfig(iterations=1, profile=tuple(profile.split(",")))


def test_a_profile_within_an_execution_traces_all_of_it(tmp_path, monkeypatch):
    calls = []

    def start(folder):
        calls.append("start")
        Path(folder, "plugins").mkdir()

    profiler = start, lambda: calls.append("stop"), lambda name, step_num: contextlib.nullcontext()
    monkeypatch.setitem(tensorboard.PROFILERS, "tensorflow", lambda: profiler)
    profile = tensorboard.Profile(Progress(0, 40), tmp_path, 23, 25, steps_per_execution=10)
    for first in range(0, 40, 10):
        calls.append(first)
        profile.on_train_batch_begin(first)
        profile.on_train_batch_end(first + 9)
    assert calls == [0, 10, 20, "start", "stop", 30]


def test_intervals_must_be_whole_executions():
    with pytest.raises(ConfigError, match="--checkpoint_iteration=10 must be a multiple"):
        TrainConfig(iterations=1, steps_per_execution=4, checkpoint_iteration=10)
    with pytest.raises(ConfigError, match="--aux_iterations=10 must be a multiple"):
        TrainConfig(iterations=1, steps_per_execution=4, checkpoint_iteration=8, aux_file=("x.h5",))


def test_the_flagfile_of_a_run_gives_its_configs_back(tmp_path):
    configs = {
        "output": OutputConfig(run_id="x"),
        "data": DataConfig(file=("a.h5", "b.h5"), minibatch_size=3),
        "network": NetworkConfig(residual=False, weight_decay=1e-5, conv_mode="3D"),
        "optimizer": OptimizerConfig(freeze=("initial*", "logits"), learning_rate=0.123456789),
        "train": TrainConfig(epochs=1.5, no_summary_images=True, profile=("3", "4")),
        "execution": ExecutionConfig(xla=False, deterministic=True),
    }
    (tmp_path / "run.flags").write_text("\n".join(flag_lines(configs)))
    parsed = parse([f"--flagfile={tmp_path}/run.flags"], tuple(type(c) for c in configs.values()))
    assert parsed.configs == tuple(configs.values())
    defaults = parse(["--iterations=1"], GROUPS).configs
    (tmp_path / "run.flags").write_text("\n".join(flag_lines({str(i): c for i, c in enumerate(defaults)})))
    assert parse([f"--flagfile={tmp_path}/run.flags"], GROUPS).configs == defaults


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the count of TensorFlow's graph")
def test_the_cost_of_a_step_is_that_of_its_convolutions():
    # Without normalisation all products are convolutions: of each place of the output with the whole kernel, forward;
    # backward as much for the kernel, and as much for the input, but for the first one's, which is the image.
    model = make_model(normalization="none", upsampling="convolutional")
    batch = make_batches(1, 2)[0]
    forward = first = 0
    for layer in model.network.layers:
        if "conv" in layer.name or layer.name == "logits":
            kernel = layer.kernel.shape
            places = np.prod((layer.input if "Transpose" in type(layer).__name__ else layer.output).shape[1:3])
            images = 2 * (1 if layer.name.startswith("deepest") else 3)
            own = 2 * int(images * places * np.prod(kernel))
            first = first or own
            forward += own
    memory, operations = step_cost(model, batch)
    assert operations == 3 * forward - first
    doubled = step_cost(model, make_batches(1, 4)[0])
    assert doubled[1] == 2 * operations
    assert 1.9 < doubled[0] / memory < 2.1


def test_the_table_counts_every_weight_and_names_every_layer():
    network = make_model({"optimizer": "sgd"}, blocks_per_layer=1).network
    table = network_table(network)
    rows = [line.rsplit(None, 1) for line in table.splitlines()[1:-1]]
    assert sum(int(weights.replace(",", "")) for _, weights in rows) == network.count_params()
    assert "16 x 24 x 2" in table and "8 x 12 x 4" in table
    assert "level0_down_0_conv" in layer_names(network)


@pytest.fixture(scope="module")
def watched(three_events, tmp_path_factory):
    """A short run with everything that can be looked at."""
    folder = tmp_path_factory.mktemp("watched")
    flags = [*TINY, f"--file={three_events}", f"--aux_file={three_events}", "--iterations=6", "--aux_iterations=3"]
    flags += ["--aux_epochs=4", "--deterministic", "--summary_image_iteration=5", "--profile=4,5", "--seed=5"]
    done = run_module("train", *flags, f"--output_dir={folder}", "--run_id=watched")
    assert done.stderr == "", "Keras warned of XLA, which it leaves out where operations are deterministic"
    return folder, done


def events(folder, split, kind):
    """tag -> steps of what TensorBoard finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "watched/logs" / split), {"tensors": 0}).Reload()
    if kind == "graph":
        return accumulator.Graph()
    plugin = {tag: accumulator.summary_metadata[tag].plugin_data.plugin_name for tag in accumulator.Tags()["tensors"]}
    return {tag: [e.step for e in accumulator.Tensors(tag)] for tag, name in plugin.items() if name == kind}


def test_tensorboard_gets_scalars_pictures_options_and_the_graph(watched):
    folder, _ = watched
    train = events(folder, "train", "scalars")
    assert train["loss"] == [1, 2, 3, 4, 5, 6] and train["learning_rate"] == [1, 2, 3, 4, 5, 6]
    assert events(folder, "validation", "scalars")["mean_iou"] == [3, 6]
    assert events(folder, "whole_validation", "scalars")["mean_iou"] == [6]
    pictures = events(folder, "validation", "images")
    for plane in range(3):
        assert pictures[f"plane{plane}/input"] == pictures[f"plane{plane}/label"] == [0]
        assert pictures[f"plane{plane}/prediction"] == [5, 6]
    assert "_hparams_/session_start_info" in events(folder, "whole_validation", "hparams")
    assert any("level0_down" in node.name for node in events(folder, "train", "graph").node)


def test_the_profile_holds_the_steps(watched):
    folder, _ = watched
    traces = list((folder / "watched/logs/train/plugins/profile").rglob("*.xplane.pb"))
    assert len(traces) == 1 and traces[0].stat().st_size > 10_000


def test_a_run_describes_itself(watched):
    folder, _ = watched
    run = json.loads((folder / "watched/run.json").read_text())
    assert run["parameters"] > 1000 and run["versions"]["keras"] and "--deterministic" in run["command"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert run["git_commit"] == (commit.stdout.strip() or None)


@pytest.mark.slow
def test_the_flagfile_of_a_deterministic_run_repeats_it_bit_for_bit(watched):
    folder, _ = watched
    again = ["--run_id=again", "--profile=", "--no_summary_images"]
    run_module("train", f"--flagfile={folder}/watched/run.flags", *again)
    here, there = (folder / name / "checkpoints/step_00000006/state.npz" for name in ("watched", "again"))
    with np.load(here) as one, np.load(there) as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert not list((folder / "again/logs").rglob("*.xplane.pb"))


def test_fine_tuning_begins_with_the_runs_weights_and_moves_what_is_not_frozen(watched, three_events):
    folder, _ = watched
    flags = [*TINY, f"--file={three_events}", f"--output_dir={folder}", "--run_id=tuned", "--noxla", "--iterations=1"]
    flags += [f"--init_from={folder}/watched", "--freeze=initial*,level*,deepest*", "--no_summary_images"]
    done = run_module("train", *flags, "--learning_rate=0.1")
    assert "begins with the weights" in done.stdout and "frozen: " in done.stdout and "initial_conv" in done.stdout
    before, after = (
        hdf5_arrays(folder / run / "network.weights.h5")
        for run in ("watched/checkpoints/step_00000006", "tuned/checkpoints/step_00000001")
    )
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    # Keras names them by kind and number: the last two units and the logits are the final ones.
    layers = {name.split("/")[1] for name in before}
    final = last("conv2d", 3, layers) | last("plane_batch_normalization", 2, layers)
    assert {name.split("/")[1] for name in moved} == final


def last(kind, count, layers):
    """The names with the highest numbers among those that Keras gave to layers of a kind."""
    numbers = [int(name.removeprefix(kind + "_")) for name in layers if re.fullmatch(kind + r"_\d+", name)]
    return {f"{kind}_{number}" for number in sorted(numbers)[-count:]}


def test_a_larger_network_begins_with_the_layers_that_a_run_has(watched, three_events):
    folder, _ = watched
    flags = [*TINY, f"--file={three_events}", f"--output_dir={folder}", "--run_id=larger", "--noxla", "--iterations=1"]
    flags += [f"--init_from={folder}/watched", "--blocks_final=2", "--no_summary_images"]
    assert "do not fit this network (4 layers differ: final_1_1_conv is not in them" in refusal("train", *flags)
    # Only the new layers are trained: what comes out of the others is what the run had.
    known = "--freeze=initial*,level*,deepest*,final_0*,logits"
    done = run_module("train", *flags, "--init_new_layers", known)
    line = next(line for line in done.stdout.splitlines() if line.startswith("begin fresh"))
    new = set(line.split(": ")[2].split(", "))
    assert new == {f"final_1_{i}_{kind}" for i in (1, 2) for kind in ("conv", "norm")}
    before, after = (
        layers_of(folder / run / f"checkpoints/step_{step:08d}/network.weights.h5")
        for run, step in (("watched", 6), ("larger", 1))
    )
    assert after.keys() - before.keys() == new
    for name, arrays in before.items():
        for one, other in zip(arrays, after[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def layers_of(file):
    """The arrays of each layer with weights, by the layer's name."""
    import h5py

    with h5py.File(file) as opened:
        groups = [layer["vars"] for layer in opened["layers"].values() if len(layer["vars"])]
        return {group.attrs["name"]: [group[key][...] for key in sorted(group)] for group in groups}


def test_what_cannot_be_frozen_or_begun_with_is_refused(three_events, tmp_path):
    flags = [*TINY, f"--file={three_events}", f"--output_dir={tmp_path}", "--iterations=1"]
    assert "matches no layer with weights" in refusal("train", *flags, "--freeze=nothing*")
    assert "nothing is left to train" in refusal("train", *flags, "--freeze=*")
    assert "holds no intact checkpoint" in refusal("train", *flags, f"--init_from={tmp_path}")
    assert "no such file" in refusal("train", *flags, "--init_from=/nowhere.weights.h5")
    assert "goes with --init_from" in refusal("train", *flags, "--init_new_layers")


def test_a_dry_run_says_all_and_writes_nothing(three_events, tmp_path):
    flags = [*TINY, f"--file={three_events}", f"--output_dir={tmp_path}/none", "--epochs=4", "--dry_run"]
    done = run_module("train", *flags, "--freeze=initial*")
    assert "--network_depth=1" in done.stdout and "GFLOP" in done.stdout and "initial_conv*" in done.stdout
    assert "3 events, 1.5 steps a pass, 6 steps in all" in done.stdout
    assert "no such file" in refusal("train", *flags, "--aux_file=/nowhere.h5")
    assert "has no label product typo: see --producer_label" in refusal("train", *flags, "--producer_label=typo")
    assert not (tmp_path / "none").exists()


def test_several_steps_per_execution_make_the_same_weights(three_events, tmp_path):
    flags = [*TINY, f"--file={three_events}", f"--output_dir={tmp_path}", "--iterations=5", "--checkpoint_iteration=2"]
    flags += ["--no_summary_images", "--noxla", "--summary_iteration=5"]
    states = []
    for steps in (1, 2):
        run_module("train", *flags, f"--run_id={steps}", f"--steps_per_execution={steps}")
        folder = tmp_path / str(steps) / "checkpoints"
        assert sorted(p.name for p in folder.iterdir()) == ["step_00000002", "step_00000004", "step_00000005"]
        with np.load(folder / "step_00000005/state.npz") as arrays:
            states.append({name.split()[0]: arrays[name] for name in arrays.files})
    for name, array in states[0].items():
        np.testing.assert_allclose(array, states[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


class CountingModel:
    """Counts how often its state is asked for."""

    exchange = None

    def __init__(self):
        self.synced = 0

    def sync(self):
        self.synced += 1


class DueAtFive(StepCallback):
    acted = 0

    def due(self, before, step):
        return is_due(5, before, step)

    def act(self, step):
        self.acted += 1


def test_nothing_reads_the_model_between_the_steps_that_are_due(monkeypatch):
    """On JAX, where a look brings the whole state to the variables."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    model, progress = CountingModel(), Progress(0, 20)
    due = DueAtFive(progress)
    stop = FiniteStop(progress, lambda step: [], Ranks(), [due])
    for callback in (stop, due):
        callback.set_model(model)
    monkeypatch.setattr(stop, "look", lambda wrong: model.sync())
    for batch in range(20):
        for callback in (stop, due):
            callback.on_train_batch_end(batch, {"loss": 1.0})
    assert due.acted == 4 and model.synced == 2 * due.acted
    stop.on_train_batch_end(20, {"loss": 1.0})
    assert model.synced == 8
    # A loss that is not finite is a reason to look, at any step; the guard has seen it, or nothing would be wrong.
    monkeypatch.setattr(stop, "stop", lambda step, wrong: None)
    stop.on_train_batch_end(21, {"loss": np.nan})
    assert model.synced == 9


def test_the_logs_of_a_step_are_its_loss_alone():
    model, (batch,) = make_model(), make_batches(1, 2)
    logs = model.train_on_batch(batch, return_dict=True)
    assert list(logs) == ["loss"] and np.isfinite(logs["loss"])
