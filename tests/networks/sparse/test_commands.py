"""The sparse network through the commands: exact resume, evaluation with and without XLA, and the export."""

import json

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import DataConfig, OutputConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from cosmictagger_tf.networks.predictor import Predictor
from tests.commands import TINY, checkpoint_arrays, run_module

pytestmark = pytest.mark.slow
FLAGS = ["--preset=sparse", *TINY, "--minibatch_size=2", "--seed=3", "--checkpoint_iteration=3", "--noxla"]
FLAGS += ["--no_summary_images"]


@pytest.fixture(scope="module")
def folder(three_events, tmp_path_factory):
    """A run of 6 steps."""
    folder = tmp_path_factory.mktemp("sparse")
    run_module(
        "train", *FLAGS, f"--file={three_events}", f"--output_dir={folder}", "--run_id=straight", "--iterations=6"
    )
    return folder


def test_a_resumed_run_equals_the_straight_one_bit_for_bit(folder, three_events):
    where = [f"--file={three_events}", f"--output_dir={folder}", "--run_id=resumed"]
    run_module("train", *FLAGS, *where, "--iterations=3")
    assert "resumed from" in run_module("train", *FLAGS, *where, "--iterations=6").stdout
    straight, resumed = checkpoint_arrays(folder / "straight", 6), checkpoint_arrays(folder / "resumed", 6)
    assert straight.keys() == resumed.keys() and len(straight) > 20
    for name, array in straight.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)


def test_evaluation_depends_neither_on_xla_nor_on_the_batch_size(folder, three_events):
    metrics = []
    for flags in (["--noxla", "--minibatch_size=1"], ["--xla", "--minibatch_size=3"]):
        where = [f"--file={three_events}", f"--output_dir={folder}", "--run_id=straight", "--nohtml"]
        done = run_module("evaluate", *where, *flags)
        assert "oneDNN" not in done.stderr, "TensorFlow's chatter reached the user"
        metrics.append(json.loads((folder / "straight/evaluation.json").read_text())["metrics"])
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-5)


@pytest.mark.exhaustive
def test_the_export_scores_bare_pixel_lists_and_dense_images_alike(folder, three_events, tmp_path):
    run_module("export", f"--output_dir={folder}", "--run_id=straight", f"--export_dir={tmp_path}/model")
    loaded = tf.saved_model.load(tmp_path / "model")
    trained = find_model(InferenceConfig(OutputConfig(str(folder), "straight")))
    reader = open_reader(DataConfig(file=(str(three_events),)))
    events = [downsample_event(reader.read(entry), trained.data.downsample) for entry in (0, 1)]
    shape = events[0].shape
    batch = make_batch(events, 2, shape)
    expected = Predictor(trained.segmenter(reader.shape), xla=False).predict_on_batch(batch)
    assert np.ptp(expected) > 0.1
    images = [np.stack([p.dense(shape.height, shape.width) for p in event.image], axis=-1) for event in events]
    dense = loaded.signatures["dense"](images=tf.constant(np.stack(images)))["scores"].numpy()
    np.testing.assert_allclose(dense.transpose(0, 3, 1, 2, 4), expected, atol=1e-5)
    lists = {"coordinates": batch["image_coordinates"], "values": batch["image_values"]}
    pixels = loaded.signatures["pixels"](**{name: tf.constant(array) for name, array in lists.items()})["scores"]
    for i, event in enumerate(events):
        for plane, listed in enumerate(event.image):
            scores = pixels[i, plane, : len(listed)]
            np.testing.assert_allclose(scores, expected[i, plane, listed.rows, listed.columns], atol=1e-5)
