"""Our heads for event and vertex against the reference's own (branch v2.1)."""

import json

import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import assign_reference_weights
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX
from cosmictagger_tf.training.checkpoints.importing import check_architecture, read_tensors
from cosmictagger_tf.training.event_losses import class_losses, detection_losses, offset_losses
from cosmictagger_tf.training.event_metrics import vertex_measures
from cosmictagger_tf.training.vertex_cells import predicted_vertices, vertex_targets

SAME_NAME = ("n_initial_filters", "blocks_per_layer", "blocks_deepest_layer", "blocks_final", "residual", "connections")
SAME_NAME += ("filter_size_deepest", "bottleneck_deepest", "block_concat", "growth_rate", "downsampling", "upsampling")
HEAD_NAMES = {"n_filters": "filters", "n_layers": "blocks", "detach": "detach", "active": "head"}


@pytest.fixture(scope="module")
def path(fixtures_dir):
    return fixtures_dir / "v21_heads_torch.npz"


@pytest.fixture(scope="module")
def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def architecture(arrays) -> NetworkConfig:
    """The options that the fixture's network had, as ours."""
    theirs = json.loads(str(arrays["config_json"]))["network"]
    options = {name: theirs[name] for name in SAME_NAME}
    for head, ours in (("vertex", "vertex"), ("classification", "event")):
        options |= {f"{ours}_{option}": theirs[head][name] for name, option in HEAD_NAMES.items()}
    return NetworkConfig(network_depth=theirs["depth"], vertex_depth=theirs["vertex"]["depth"], **options)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_all_three_outputs(arrays, path, mode):
    config, images = architecture(arrays), arrays["input"].astype(np.float32)
    check_architecture(config)
    network = build_network(config, ImageShape(*images.shape[1:]))
    assign_reference_weights(network, config, read_tensors(path))
    outputs = {name: np.asarray(value) for name, value in network(images, training=mode == "train").items()}
    allowed = max(2e-4, 4 * float(arrays[f"{mode}/f64_logits_maxabsdiff"]))
    pixels = arrays[f"{mode}/logits"].transpose(1, 0, 3, 4, 2)
    vertex = arrays[f"{mode}/vertex"].transpose(1, 0, 3, 4, 2)
    for name, expected in ((PIXELS, pixels), (EVENT, arrays[f"{mode}/event_logits"]), (VERTEX, vertex)):
        assert outputs[name].shape == expected.shape and np.ptp(expected) > 0.4
        assert np.abs(outputs[name] - expected).max() < allowed, name


class Truth:
    """The fixture's vertices and outputs as ours are: events first, channels last; vertices as (row, column).

    Its network sees every 16th of the file's pixels in each direction, of which its cells have 64.
    """

    def __init__(self, arrays):
        self.vertex = arrays["eval/vertex"].transpose(1, 0, 3, 4, 2).astype(np.float32)
        self.vertices = arrays["target/vertex_pixels_wire_time"][:, None, :, ::-1].astype(np.float32)
        self.targets = vertex_targets(self.vertices, *self.vertex.shape[2:4], 64)


@pytest.fixture(scope="module")
def truth(arrays):
    return Truth(arrays)


def test_targets(arrays, truth):
    np.testing.assert_array_equal(truth.targets.detection, arrays["target/detection"].swapaxes(0, 1))
    np.testing.assert_array_equal(truth.targets.offsets[:, 0], arrays["target/offset_h_w"])
    network_pixels = vertex_targets(truth.vertices / 16, *truth.vertex.shape[2:4], 4)
    for one, other in zip(network_pixels, truth.targets, strict=True):
        np.testing.assert_array_equal(one, other)


def test_losses(arrays, truth):
    options = json.loads(str(arrays["config_json"]))["network"]["vertex"]
    detection = options["l_det"] * np.mean(detection_losses(truth.vertex, truth.targets, np.array([True, True])))
    assert detection == pytest.approx(float(arrays["eval/loss_vertex_detection"]), rel=1e-5)
    # The reference's sum over the events of a batch is our mean times their number.
    events = len(truth.vertices)
    localization = events * options["l_coord"] * np.mean(offset_losses(truth.vertex, truth.targets))
    assert localization == pytest.approx(float(arrays["eval/loss_vertex_localization"]), rel=1e-5)
    losses = class_losses(arrays["target/event_label"], arrays["eval/event_logits"].astype(np.float32))
    assert np.mean(losses) == pytest.approx(float(arrays["eval/loss_event"]), rel=1e-5)


def test_predicted_vertices(arrays, truth):
    places, _ = predicted_vertices(truth.vertex, 64)
    np.testing.assert_allclose(places, arrays["eval/predicted_vertex_h_w"], rtol=1e-5)


def test_metrics(arrays, truth):
    expected = json.loads(str(arrays["eval/vertex_metrics_json"]))
    # Its distances are in the image's physical units, which the file has as pixels.
    values = vertex_measures(truth.vertex, truth.vertices, 64)
    for plane in range(3):
        assert np.mean(values["right"][:, plane]) == expected[f"plane{plane}/VertexDetection"]
        distance = np.mean(values["distance"][:, plane])
        assert distance == pytest.approx(expected[f"plane{plane}/VertexResolution"], rel=1e-5)
    assert np.mean(values["distance"]) == pytest.approx(expected["Average/VertexResolution"], rel=1e-5)
