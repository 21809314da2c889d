"""What a run shows in TensorBoard, on TensorFlow and where TensorFlow is not there."""

import gzip
import importlib.util
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.errors import WriteError
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.training.pictures import charge_picture, class_picture
from cosmictagger_tf.training.speed import Progress
from cosmictagger_tf.training.tensorboard import Profile, Scalars, write_graph, write_hyperparameters
from tests.training.small import NETWORK, SHAPE, make_batches
from tests.training.test_event_file import shown

ROOT = Path(__file__).resolve().parents[2]

# What a training shows of a network whose class with the highest score is, everywhere, that of the step.
WITHOUT_TENSORFLOW = """
import contextlib, sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.training.speed import Progress
from cosmictagger_tf.training.tensorboard import Pictures, Profile, Scalars, write_graph, write_hyperparameters
from tests.training.small import NETWORK, SHAPE, make_batches

folder, config, train = Path(sys.argv[1]), NetworkConfig(**NETWORK), Path(sys.argv[1]) / "train"
scalars = Scalars(folder, every=1)
scalars.write({"split": "train", "step": 1, "loss": 0.5, "images_per_second": 2.0})
scalars.close()
write_hyperparameters(folder, {"network": config}, "a run", validated=False)
segmenter = build_segmenter(config, SHAPE)
write_graph(train, segmenter.network)

jitted = keras.backend.backend() == "jax"
pictures = Pictures(Progress(0, 3), segmenter, make_batches(1, 1)[0], train, 1, xla=jitted)
pictures.set_model(SimpleNamespace(averaged_weights=contextlib.nullcontext))
pictures.on_train_begin()
logits = segmenter.network.get_layer("logits")
for step in (1, 2, 3):
    logits.bias.assign(1e6 * np.eye(3)[step - 1])
    pictures.act(step)
pictures.on_train_end()
assert "tensorflow" not in sys.modules

if jitted:
    # JAX's profiler itself imports TensorFlow where it is installed.
    import jax

    profile, product = Profile(Progress(0, 4), train, 2, 3), jax.jit(lambda x: x @ x)
    for step in range(4):
        profile.on_train_batch_begin(step)
        product(np.ones((50, 50), np.float32)).block_until_ready()
        profile.on_train_batch_end(step)
    profile.on_train_end()
"""


def picture(event):
    """uint8 [height, width, 3] of what TensorBoard reads."""
    return np.asarray(Image.open(io.BytesIO(event.tensor_proto.string_val[2])))


@pytest.fixture(scope="module", params=["jax", "torch"])
def written(request, tmp_path_factory):
    """The folder that the script writes on a backend, under one whose name is not UTF-8."""
    backend = request.param
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend}")
    folder = tmp_path_factory.mktemp("logs")
    below = folder / os.fsdecode(b"caf\xe9")
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, below]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return below.rename(folder / "readable") / "train"


@pytest.mark.slow
def test_all_is_written_without_tensorflow(written):
    read = shown(written)
    plugins = {tag: metadata.plugin_data.plugin_name for tag, (metadata, _) in read.items()}
    pictures = {f"plane{plane}/{name}": "images" for plane in range(3) for name in ("input", "label", "prediction")}
    options = {"_hparams_/experiment": "hparams", "_hparams_/session_start_info": "hparams"}
    assert plugins == {"loss": "scalars", "images_per_second": "scalars", **pictures, **options}
    (loss,) = read["loss"][1]
    assert loss.step == 1 and tf.make_ndarray(loss.tensor_proto) == 0.5


@pytest.mark.slow
def test_a_picture_shows_the_weights_of_its_step(written):
    read = shown(written)
    batch = make_batches(1, 1)[0]
    for plane in range(SHAPE.planes):
        predictions = read[f"plane{plane}/prediction"][1]
        assert [event.step for event in predictions] == [1, 2, 3]
        for number, event in enumerate(predictions):
            expected = class_picture(np.full((SHAPE.height, SHAPE.width), number))
            np.testing.assert_array_equal(picture(event), expected)
        charge, label = np.zeros((2, SHAPE.height, SHAPE.width))
        for image, kind in ((charge, "image"), (label, "label")):
            rows, columns = batch[f"{kind}_coordinates"][0, plane].T
            image[rows[rows >= 0], columns[rows >= 0]] = batch[f"{kind}_values"][0, plane][rows >= 0]
        ((first,), (second,)) = (read[f"plane{plane}/{name}"][1] for name in ("input", "label"))
        np.testing.assert_array_equal(picture(first), charge_picture(charge))
        np.testing.assert_array_equal(picture(second), class_picture(label.astype(int)))


@pytest.mark.slow
@pytest.mark.parametrize("written", ["jax"], indirect=True)
def test_on_jax_the_profile_holds_the_steps(written):
    (trace,) = (written / "plugins/profile").glob("*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
    assert sorted(map(int, steps)) == [2, 3]
    assert list(trace.parent.glob("*.xplane.pb"))


def test_the_hyperparameters_are_those_of_tensorflow(tmp_path):
    from tensorboard.plugins.hparams import api

    write_hyperparameters(tmp_path, {"network": NetworkConfig()}, "a run", validated=True)
    values = {
        f"network.{k}": ",".join(v) if isinstance(v, (list, tuple)) else v for k, v in NetworkConfig().to_dict().items()
    }
    metrics = [api.Metric(name, display_name=f"whole_validation {name}") for name in ("loss", "mean_iou")]
    with tf.summary.create_file_writer(str(tmp_path / "theirs")).as_default(step=0):
        api.hparams_config(hparams=[api.HParam(name) for name in values], metrics=metrics)
        api.hparams(values, trial_id="a run")
    ours, theirs = shown(tmp_path / "whole_validation"), shown(tmp_path / "theirs")
    assert set(ours) == set(theirs) == {"_hparams_/experiment", "_hparams_/session_start_info"}
    for tag, (metadata, (event,)) in ours.items():
        expected, (other,) = theirs[tag]
        assert event.tensor_proto == other.tensor_proto and event.step == other.step
        content, wanted = (
            plugin_data_pb2.HParamsPluginData.FromString(data.plugin_data.content) for data in (metadata, expected)
        )
        for data in (content, wanted):
            # The times of the two.
            data.experiment.time_created_secs = data.session_start_info.start_time_secs = 0
        assert content == wanted


HEADS = {"event_head": True, "vertex_head": True, "network_depth": 2, "vertex_depth": 1}


@pytest.mark.parametrize("heads", [{}, HEADS], ids=["pixels", "heads"])
@pytest.mark.parametrize("conv_mode", ["2D", "3D", "sparse"])
def test_the_graph_has_each_layer_and_what_it_takes(tmp_path, conv_mode, heads):
    options = {"conv_mode": conv_mode, "blocks_per_layer": 1, "blocks_deepest_layer": 1, **heads}
    network = build_segmenter(NetworkConfig(**NETWORK | options), SHAPE).network
    write_graph(tmp_path, network)
    nodes = {node.name: node for node in EventAccumulator(str(tmp_path)).Reload().Graph().node}
    assert len(nodes) == len(network.operations) and {"level0_up", "deepest"} <= {n.split("/")[0] for n in nodes}
    assert all(source in nodes for node in nodes.values() for source in node.input)
    assert not heads or {"event", "vertex"} <= {name.split("/")[0] for name in nodes}
    # From the outputs back to every image or table that is given.
    todo = sorted(set(nodes) - {source for node in nodes.values() for source in node.input})
    assert len(todo) == (3 if heads else 1)
    reached = set()
    while todo:
        reached.add(name := todo.pop())
        todo += [source for source in nodes[name].input if source not in reached]
    assert reached == set(nodes)


def test_scalars_are_written_where_they_are_due(tmp_path):
    scalars = Scalars(tmp_path, every=2)
    for step in range(1, 6):
        scalars.write({"split": "train", "step": step, "loss": 1.0 / step, "note": "no number"})
    scalars.write({"split": "validation", "step": 5, "loss": 0.5})
    scalars.close()
    train, validation = shown(tmp_path / "train"), shown(tmp_path / "validation")
    assert set(train) == set(validation) == {"loss"}
    assert [event.step for event in train["loss"][1]] == [2, 4] and [e.step for e in validation["loss"][1]] == [5]


def test_a_disk_that_takes_no_logs_is_one_line(tmp_path):
    scalars = Scalars(tmp_path, every=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(WriteError, match=f"{tmp_path}/train: cannot be written: File too large"):
            for step in range(1, 9):
                scalars.write({"split": "train", "step": step, "loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_profile_that_cannot_be_kept_is_one_line(tmp_path):
    (tmp_path / "plugins").write_text("a file")
    profile = Profile(Progress(0, 1), tmp_path, 1, 1)
    profile.on_train_batch_begin(0)
    with pytest.raises(WriteError, match=f"{tmp_path}: cannot be written: File exists"):
        profile.on_train_batch_end(0)
