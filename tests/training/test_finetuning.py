"""Beginning with the weights of a smaller network."""

import json
import shutil
from dataclasses import astuple, replace

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    ExportConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    with_changes,
)
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, UserError
from cosmictagger_tf.inference.export.export_run import export_run
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.networks.build import build_network, build_segmenter
from cosmictagger_tf.networks.heads import LAYERS
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.checkpoints.shipped import ShippedModel
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, load_weights
from cosmictagger_tf.training.finetuning import begin_from, init_from, misfits_explained
from tests.networks.sparse.examples import SHAPE, SMALL, dense_images, random_batch, randomise, rulebook, site_logits
from tests.training.backend_worker import run_config


def logits(network, config, batch):
    """Of a batch's images, or of its sites."""
    if config.conv_mode == "sparse":
        return site_logits(network, rulebook(batch, config))
    return network(dense_images(batch)).numpy()


WITH_HEADS = with_changes(
    SMALL, event_head=True, event_filters=2, event_blocks=1, vertex_head=True, vertex_filters=2, vertex_depth=1
)


@pytest.mark.parametrize("conv_mode", ["2D", "sparse"])
def test_weights_with_heads_begin_a_network_without_them_and_the_reverse(tmp_path, caplog, conv_mode):
    bare, headed = (with_changes(config, conv_mode=conv_mode) for config in (SMALL, WITH_HEADS))
    for config, other in ((bare, headed), (headed, bare)):
        first, second = build_network(config, SHAPE), build_network(other, SHAPE)
        randomise(first)
        first.save_weights(tmp_path / "first.weights.h5")
        init_from(str(tmp_path / "first.weights.h5"), second)
        line = caplog.messages[-1] if other is headed else caplog.messages[-2]
        assert line.startswith("begin fresh: " if other is headed else "left out, as this network has none: ")
        assert "event_input" in line and "vertex_3_2_norm" in line and "initial_conv" not in line
        for name in ("initial_conv", "deepest_0_1_norm", "logits"):
            for one, two in zip(*(n.get_layer(name).get_weights() for n in (first, second)), strict=True):
                np.testing.assert_array_equal(one, two)
    # Of other layers they must be the same, as before.
    with pytest.raises(CheckpointError, match="do not fit"):
        init_from(str(tmp_path / "first.weights.h5"), build_network(with_changes(bare, blocks_final=2), SHAPE))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(tmp_path / "first.weights.h5", build_network(bare, SHAPE))


def test_heads_of_another_design_begin_fresh_whatever_their_names(tmp_path, caplog):
    first = with_changes(WITH_HEADS, conv_mode="sparse")
    sites = with_changes(first, head_design="sites")
    folder, network = RunFolder(OutputConfig(str(tmp_path), "reference")), build_network(first, SHAPE)
    randomise(network)
    folder.prepare()
    CheckpointStore(folder.checkpoints).save(0, network, {}, {})
    folder.write_record({"network": first}, {"image_shape": astuple(SHAPE)})
    job = {"init_from": str(folder.path), "run_id": "sites", "iterations": 1, "synthetic": True}
    for config in (first, sites):
        segmenter = build_segmenter(config, SHAPE)
        heads = [layer.name for layer in segmenter.network.layers if layer.weights and layer.name.startswith(LAYERS)]
        shared = [name for name in heads if any(name == layer.name for layer in network.layers)]
        assert shared
        begin_from(replace(run_config(str(tmp_path), job), network=config), segmenter)
        same = [
            all(map(np.array_equal, *(n.get_layer(name).get_weights() for n in (network, segmenter.network))))
            for name in shared
        ]
        assert all(same) if config is first else not any(same)
    line = next(line for line in caplog.messages if line.startswith("begin fresh: "))
    assert all(name in line for name in heads)


@pytest.mark.parametrize("normalization", ["batch", "layer", "group", "none"])
@pytest.mark.parametrize("conv_mode", ["2D", "3D", "sparse"])
def test_a_grown_network_begins_where_the_smaller_one_ended(tmp_path, caplog, conv_mode, normalization):
    small = with_changes(SMALL, conv_mode=conv_mode, normalization=normalization, blocks_per_layer=0, blocks_final=0)
    large = with_changes(small, blocks_by_level=("0", "2"), blocks_deepest_layer=3, blocks_final=1)
    large = with_changes(large, row_exchange=("1",))
    file, batch = tmp_path / "small.weights.h5", random_batch(labels=False)
    first, grown, fresh = build_network(small, SHAPE), build_network(large, SHAPE), build_network(large, SHAPE)
    randomise(first)
    first.save_weights(file)
    init_from(str(file), grown, True)
    assert "level1_down_0_1_conv" in caplog.messages[-1]
    expected = logits(first, small, batch)
    # Each new block's leaky ReLU makes the negative part of its input smaller once more, by 0.01.
    load_weights(file, fresh, new_layers=True)
    off, off_otherwise = (np.abs(logits(n, large, batch) - expected).max() / np.ptp(expected) for n in (grown, fresh))
    assert off < 0.2 and off_otherwise > 3 * off


@pytest.fixture
def run(tmp_path):
    """A run of SMALL, and its folder."""
    folder, network = RunFolder(OutputConfig(str(tmp_path), "made")), build_network(SMALL, SHAPE)
    folder.prepare()
    CheckpointStore(folder.checkpoints).save(0, network, {}, {})
    configs = {"data": DataConfig(), "network": SMALL, "optimizer": OptimizerConfig(), "execution": ExecutionConfig()}
    folder.write_record(configs, {"image_shape": astuple(SHAPE)})
    return folder


def misfit(source, asked, shape=SHAPE) -> str:
    with pytest.raises(UserError) as error, misfits_explained(source, asked, shape):
        init_from(str(source), build_network(asked, shape))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_that_do_not_fit_say_which_option_differs_and_which_flagfile_fits(run, tmp_path):
    dense = with_changes(SMALL, conv_mode="2D")
    line = misfit("sparse_small", dense)
    assert "--conv_mode=sparse, not 2D" in line and line.endswith("give --flagfile=flags/sparse_small.flags")
    assert " layers" not in line
    other = with_changes(SMALL, n_initial_filters=2)
    step = run.checkpoints / "step_00000000"
    for source in (run.path, step, step / "network.weights.h5"):
        line = misfit(source, other)
        assert f"they are of --n_initial_filters=3, not 2: give --flagfile={run.flagfile}" in line
    shutil.copy(step / "network.weights.h5", tmp_path / "alone.weights.h5")
    assert "give the network flags of their training" in misfit(tmp_path / "alone.weights.h5", other)


def test_weights_are_not_used_on_another_number_of_planes(run):
    one = ImageShape(1, SHAPE.height, SHAPE.width)
    for source, asked in ((run.path, SMALL), ("sparse_small", ShippedModel("sparse_small").config(NetworkConfig))):
        with (
            pytest.raises(ConfigError, match="images of 3 planes, and these have 1"),
            misfits_explained(source, asked, one),
        ):
            pass


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = build_network(SMALL, SHAPE)
    network.get_layer("logits").bias.assign([0, np.nan, 0])
    network.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(CheckpointError, match="those of logits are not finite"):
        load_weights(tmp_path / "a.weights.h5", build_network(SMALL, SHAPE))


def test_an_export_is_of_the_runs_own_images_unasked(run):
    options = ExportConfig(export_format="keras"), InferenceConfig(OutputConfig(str(run.path.parent), run.path.name))
    dense = with_changes(SMALL, conv_mode="3D")
    CheckpointStore(run.checkpoints).save(1, build_network(dense, SHAPE), {}, {})
    record = json.loads(run.record_file.read_text())
    record["config"]["network"] |= {"conv_mode": "3D"}
    record["config"]["data"] |= {"downsample": 1}
    run.record_file.write_text(json.dumps(record | {"image_shape": [3, 2 * SHAPE.height, 2 * SHAPE.width]}))
    path = export_run(*options)
    assert keras.saving.load_model(path).input.shape == (None, *astuple(SHAPE))
    del record["image_shape"]
    run.record_file.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="--file: give a file of the images that the model is for"):
        export_run(*options)
