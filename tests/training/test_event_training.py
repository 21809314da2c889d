"""Training of a network with heads: its loss, its metrics, and what is frozen."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import OptimizerConfig, TruthConfig
from cosmictagger_tf.errors import NonFiniteError
from cosmictagger_tf.training import trainer
from cosmictagger_tf.training.callbacks import FiniteStop
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.dry_run import layer_names, network_table
from cosmictagger_tf.training.event_losses import HeadWeights
from cosmictagger_tf.training.finetuning import freeze_layers
from cosmictagger_tf.training.speed import Progress
from tests.commands import ROOT
from tests.networks.sparse.examples import randomise
from tests.training.backend_worker import SMALL as SMALL_RUN
from tests.training.backend_worker import run_config
from tests.training.small import SHAPE, make_batches, make_model, train_on

HEADS = {"event_head": True, "event_filters": 4, "event_blocks": 1, "network_depth": 2}
HEADS |= {"vertex_head": True, "vertex_filters": 4, "vertex_blocks": 1, "vertex_depth": 1}


def with_truth(batch: dict, seed: int = 0) -> dict:
    """A Batch with classes and vertices, those of the last event unknown."""
    rng, size = np.random.default_rng(seed), len(batch["weights"])
    vertices = rng.uniform(0, (SHAPE.height, SHAPE.width), size=(size, 2, SHAPE.planes, 2)).astype(np.float32)
    vertices[:, 1] = -1
    truth = {"event_classes": np.arange(size, dtype=np.int32) % 4, "vertices": vertices}
    truth["vertices_known"] = np.ones(size, np.float32)
    truth["event_classes"][-1], truth["vertices"][-1], truth["vertices_known"][-1] = -1, -1, 0
    return {**batch, **truth}


@pytest.fixture(params=["2D", "sparse"])
def model(request):
    return make_model(conv_mode=request.param, **HEADS)


def batch_of(model, size=3):
    batch = with_truth(make_batches(1, size)[0])
    return model.segmenter.prepare(batch) if model.segmenter.prepare else batch


def test_the_loss_is_the_pixels_and_the_weighted_heads(model):
    batch = batch_of(model)
    outputs = model(batch, training=True)
    measured = {name: np.asarray(value) for name, value in outputs["heads"].items()}
    assert not measured["class_losses"][-1] and not measured["detection_losses"][-1]
    heads = 0.01 * measured["class_losses"] + 0.1 * (measured["detection_losses"] + measured["offset_losses"])
    expected = np.mean(np.asarray(outputs["losses"]) + heads)
    assert float(model.compute_loss(batch, y_pred=outputs)) == pytest.approx(expected, rel=1e-5)
    fillers = {**batch, "weights": np.float32([1, 0, 0])}
    expected = float(outputs["losses"][0] + heads[0])
    assert float(model.compute_loss(fillers, y_pred=outputs)) == pytest.approx(expected, rel=1e-5)


def test_the_options_are_the_weights():
    assert HeadWeights.chosen(OptimizerConfig()) == HeadWeights()
    chosen = OptimizerConfig(
        event_loss_weight=1, vertex_loss_weight=2, vertex_detection_weight=3, vertex_offset_weight=4
    )
    assert HeadWeights.chosen(chosen) == (1, 2, 3, 4)
    losses = {"class_losses": np.ones(2), "detection_losses": np.ones(2), "offset_losses": np.ones(2)}
    assert HeadWeights.chosen(chosen).of(losses).tolist() == [1 + 6 + 8] * 2
    assert HeadWeights.chosen(chosen).of({"class_losses": np.ones(2)}).tolist() == [1, 1]


def test_heads_learn_and_metrics_are_of_all_events(model):
    batch = batch_of(model)
    train_on(model, [batch])
    values = model.get_metrics_result()
    counts = sum(value for name, value in values.items() if name.startswith("event_counts/"))
    assert counts == 2 and values["vertex_distance"] > 0
    assert "metrics/event_sums" in model.state and "metrics/sums" in model.state
    first = model(batch)["heads"]
    train_on(model, [batch] * 60)
    last = model(batch)["heads"]
    for name in ("detection_losses", "offset_losses"):
        assert np.sum(last[name]) < np.sum(first[name]), name
    model.reset_metrics()
    assert not np.any(model.events.sums)


def test_with_detached_heads_pixels_are_trained_as_without():
    batch = with_truth(make_batches(1, 3)[0])
    headed, bare = make_model(**HEADS), make_model(network_depth=2)
    for layer in bare.network.layers:
        headed.network.get_layer(layer.name).set_weights(layer.get_weights()) if layer.weights else None
    gradients = []
    for model in (headed, bare):
        variables = {v.path: v for v in bare.network.trainable_variables}
        variables = [v for v in model.network.trainable_variables if v.path in variables]
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, y_pred=model(batch, training=True))
        gradients.append(tape.gradient(loss, variables))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_heads_alone_can_be_trained_and_are_shown():
    model = make_model(**HEADS)
    assert {line.split()[0] for line in network_table(model.network).splitlines()} >= {"event", "vertex", "logits"}
    freeze_layers(model.network, ("initial*", "level*", "deepest*", "logits"))
    assert all(v.path.startswith(("event_", "vertex_")) for v in model.network.trainable_variables)
    assert {"event_input", "vertex_output", "logits*"} <= set(layer_names(model.network).split(", "))
    before = {layer.name: layer.get_weights() for layer in model.network.layers if layer.weights}
    model.optimizer.built = False
    model.optimizer.build(model.network.trainable_variables)
    train_on(model, [with_truth(make_batches(1, 3)[0])])
    moved = {
        name
        for name, weights in before.items()
        if not all(map(np.array_equal, weights, model.network.get_layer(name).get_weights()))
    }
    assert moved and all(name.startswith(("event_", "vertex_")) for name in moved)


def test_a_heads_loss_that_is_not_finite_stops_the_training_as_a_loss(model):
    layer = model.network.get_layer("event_output")
    layer.kernel.assign(np.full(layer.kernel.shape, np.nan, np.float32))
    (loss,) = train_on(model, [batch_of(model)])
    # In the log of the step, which is all that is looked at on JAX.
    assert np.isnan(loss) and not model.segmentation.unsound_losses
    stop = FiniteStop(Progress(0, 9), lambda step: [f"a.h5, entry {step}"], Ranks())
    stop.set_model(model)
    with pytest.raises(NonFiniteError, match=r"step 1: the loss is not finite, of the events a.h5, entry 0: "):
        stop.on_epoch_end(0)


def trained(conv_mode: str) -> dict:
    """What three steps make of a small network, NumPy, on whatever backend."""
    model = make_model({"optimizer": "sgd", "learning_rate": 0.01}, conv_mode=conv_mode, **HEADS)
    randomise(model.network, seed=3)
    batch = {name: array for name, array in batch_of(model).items() if name != "entries"}
    model.fit(((batch,) for _ in range(3)), steps_per_epoch=3, shuffle=False, verbose=0)
    model.sync()
    weights = {layer.name: layer.kernel for layer in model.network.layers if layer.name.endswith(("output", "input"))}
    measured = {name: value for name, value in model.get_metrics_result().items() if np.isfinite(value)}
    return {name: keras.ops.convert_to_numpy(value) for name, value in (weights | measured).items()}


ELSEWHERE = """
import sys
import keras
import numpy as np
from tests.training.test_event_training import trained
assert keras.backend.backend() == sys.argv[1]
np.savez(sys.argv[2], **{f"{mode} {k}": v for mode in ("2D", "sparse") for k, v in trained(mode).items()})
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_trains_the_same(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ELSEWHERE, backend, str(tmp_path / "results.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = {f"{mode} {name}": value for mode in ("2D", "sparse") for name, value in trained(mode).items()}
    with np.load(tmp_path / "results.npz") as results:
        assert set(results.files) == set(expected) and "2D event_input" in expected
        for name, value in expected.items():
            np.testing.assert_allclose(results[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "form",
    [{"conv_mode": "2D", "remat": True}, {"conv_mode": "sparse", "head_design": "sites", "normalise_charge": True}],
    ids=["2D_remat", "sparse_sites"],
)
def test_a_dry_run_shows_heads_and_what_a_step_takes(tmp_path, caplog, form):
    job = {name: value for name, value in HEADS.items() if name not in SMALL_RUN}
    trainer.describe(run_config(str(tmp_path), job | form | {"run_id": "dry", "network_depth": 2, "iterations": 2}))
    text = "\n".join(caplog.messages)
    for part, size in (("event", r"(\d+ x \d+ x )?4"), ("vertex", r"\d+ x \d+ x 3")):
        assert re.search(rf"^{part} +{size} +\d+ +[\d,]+$", text, re.MULTILINE), part
    assert "event_output" in text
    assert re.search(r"a step of 2 events: at most about [\d,]+ MiB .* GFLOP in convolutions", text)


def test_a_run_learns_from_the_truth_that_it_reads(tmp_path):
    job = {name: value for name, value in HEADS.items() if name not in SMALL_RUN}
    job |= {"run_id": "heads", "network_depth": 2, "iterations": 2, "checkpoint_iteration": 1}
    assert trainer.train(run_config(str(tmp_path), job)).step == 2
    # The counts of a record are of its steps, resumed or not.
    assert trainer.train(run_config(str(tmp_path), job | {"iterations": 3})).step == 3
    with open(tmp_path / "heads/history.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["step"] for line in lines] == ["1", "2", "3"]
    for line in lines:
        counts = [float(value) for name, value in line.items() if name.startswith("event_counts/")]
        assert len(counts) == 16 and sum(counts) <= 2
        assert float(line["vertex_distance"]) > 0 and line["vertex_cell/plane2"]
    record = json.loads((tmp_path / "heads/run.json").read_text())
    assert record["config"]["truth"] == TruthConfig().to_dict()
