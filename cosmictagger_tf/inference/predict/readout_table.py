"""The table of a prediction: a line a readout, with all its predictions."""

import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.detector import EVENT_CLASS_NAMES
from cosmictagger_tf.inference.predict.event_predictions import PER_PLANE
from cosmictagger_tf.inference.predict.scores_file import Part, WorkFolder
from cosmictagger_tf.inference.readouts import Readouts
from cosmictagger_tf.training.metrics import plane_key


def readout_columns(
    reader: Reader, work: WorkFolder, parts: list[Part], network: NetworkConfig
) -> dict[str, np.ndarray]:
    """The columns of the table, by name, each [readouts], in the order of the entries; see docs/inference.md.

    Args:
        reader: of the input.
        work: has every part.
        parts: all of them.
        network: tells which heads there are.
    """
    per_plane: dict[str, list] = {name: [] for name in PER_PLANE}
    predicted: list[Readouts] = []
    for part in parts:
        predictions = work.load(part)
        for name, values in per_plane.items():
            values += [getattr(event, name) for event in predictions]
        predicted += [event.readout for event in predictions if event.readout is not None]
    ids = np.array([reader.event_id(entry) for entry in range(len(reader))], np.int64)
    columns = {"entry": np.arange(len(reader))}
    columns |= {name: ids[:, i] for i, name in enumerate(("run", "subrun", "event"))}
    pixels, rows = (np.stack(per_plane[name]) for name in PER_PLANE)
    for plane in range(pixels.shape[1]):
        columns[plane_key("predicted_neutrino_pixels", plane)] = pixels[:, plane]
        columns[plane_key("mean_row", plane)] = rows[:, plane]
    return columns | (_head_columns(Readouts.join(predicted), network) if predicted else {})


def _head_columns(readouts: Readouts, network: NetworkConfig) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    if network.event_head:
        columns["called_class"] = np.array(EVENT_CLASS_NAMES, object)[readouts.classes]
        columns |= {f"probability/{name}": readouts.probabilities[:, c] for c, name in enumerate(EVENT_CLASS_NAMES)}
        columns["probability/neutrino"] = readouts.has_neutrino
    return columns | (_vertex_columns(readouts) if network.vertex_head else {})


def _vertex_columns(readouts) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for plane in range(readouts.scores.shape[1]):
        columns[plane_key("vertex_row", plane)] = readouts.vertices[:, plane, 0]
        columns[plane_key("vertex_column", plane)] = readouts.vertices[:, plane, 1]
        columns[plane_key("vertex_score", plane)] = readouts.scores[:, plane]
    for axis, name in enumerate("xyz"):
        columns[f"vertex_{name}_cm"] = readouts.points[:, axis]
    for one, other in zip(*np.triu_indices(3), strict=True):
        columns[f"vertex_covariance_{'xyz'[one]}{'xyz'[other]}_cm2"] = readouts.covariances[:, one, other]
    columns["vertex_agreement"] = readouts.agreement
    return columns
