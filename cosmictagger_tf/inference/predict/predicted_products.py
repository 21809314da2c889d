"""What the file of scores has beside the input's products: scores, and the predictions for each readout.

docs/inference.md describes them; the larcv library reads all of them.
"""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.config import DataConfig, NetworkConfig, PredictConfig
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.larcv_format import PARTICLE_DTYPE
from cosmictagger_tf.data.larcv_writer import image_metas
from cosmictagger_tf.data.neutrino import CHARGED_CURRENT, NEUTRAL_CURRENT
from cosmictagger_tf.data.transforms import at_stored_pixels
from cosmictagger_tf.data.vertices import boxes_at
from cosmictagger_tf.detector import NC, NUE_CC, NUMU_CC
from cosmictagger_tf.inference.predict.cleaned_image import cleaned
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction
from cosmictagger_tf.inference.readouts import Readouts

# NC has no flavour prediction: pdg 14 is a placeholder.
PARTICLES = {NUE_CC: (12, CHARGED_CURRENT), NUMU_CC: (14, CHARGED_CURRENT), NC: (14, NEUTRAL_CURRENT)}
# larcv's default values for unset fields.
NO_INDEX, NO_TRACK, NO_SHAPE, NO_NUMBER = 2**16 - 1, 2**32 - 1, 2, -1


@dataclass(frozen=True)
class PredictedProducts:
    """The products of a prediction.

    Attributes:
        predict: their producers, and whether there is a cleaned image.
        network: tells which heads there are.
        data: has the network's downsampling.
    """

    predict: PredictConfig
    network: NetworkConfig
    data: DataConfig

    @property
    def scores(self) -> tuple[str, str]:
        """The producers of the scores, in the order of event_predictions.SCORED."""
        return self.predict.producer_neutrino_score, self.predict.producer_cosmic_score

    @property
    def names(self) -> list[str]:
        """Of all products, with their kinds."""
        predict, names = self.predict, [f"sparse2d_{producer}" for producer in self.scores]
        if predict.clean:
            names.append(f"sparse2d_{predict.producer_cleaned_image}")
        if self.network.event_head:
            names.append(f"tensor1d_{predict.producer_event_prediction}")
        if self.network.vertex_head:
            names += [f"{kind}_{predict.producer_vertex_prediction}" for kind in ("bbox2d", "particle", "tensor1d")]
        return names

    def of_event(self, event: Event, prediction: EventPrediction, meta: np.ndarray | None) -> dict:
        """Of an event the arguments of LarcvWriter.write that have its products.

        Args:
            event: of the input, at full resolution.
            prediction: of the same event.
            meta: rows of the image's image_meta, plane by plane; None: none is known.
        """
        # An event without planes has none in any product.
        planes = 0 if meta is not None and not len(meta) else event.shape.planes
        images = self._images(event, prediction, planes)
        metas: dict[str, np.ndarray | None] = dict.fromkeys(images, meta)
        written: dict = {"sparse2d": images, "metas": metas}
        readout, predict = prediction.readout, self.predict
        if readout is None:
            return written
        tensors = {}
        if self.network.event_head:
            tensors[predict.producer_event_prediction] = [readout.probabilities[0]]
        if self.network.vertex_head:
            producer = predict.producer_vertex_prediction
            tensors[producer] = [readout.scores[0], readout.covariances[0].ravel(), readout.agreement]
            rows = image_metas(planes, event.shape, meta)
            boxes = [boxes_at(readout.vertices[:, plane], event.shape, rows[plane]) for plane in range(planes)]
            written |= {"bbox2d": {producer: boxes}, "particles": {producer: particles(readout)}}
            metas[producer] = meta
        return written | {"tensor1d": tensors}

    def _images(self, event, prediction, planes) -> dict:
        # Producer -> planes.
        downsample, predict = self.data.downsample, self.predict
        spread = [
            at_stored_pixels(pixels, listed, downsample, event.shape)
            for pixels, listed in zip(event.image, prediction.scores, strict=True)
        ]
        images = {producer: tuple(plane[i] for plane in spread[:planes]) for i, producer in enumerate(self.scores)}
        if prediction.called is not None:
            images[predict.producer_cleaned_image] = tuple(
                cleaned(pixels, called, downsample, event.shape, predict.clean_fringe)
                for pixels, called in zip(event.image[:planes], prediction.called, strict=False)
            )
        return images


def particles(readout: Readouts) -> np.ndarray:
    """The neutrino of one readout: PARTICLE_DTYPE, one row, and none where there is no point in the detector.

    Its vtx is the point, apparent x, y, z in cm. pdg and current_type are those of the class (PARTICLES); 0 and -1 of a
    readout that is called cosmic only, or without an event head.
    """
    points = readout.points[np.isfinite(readout.points).all(axis=-1)]
    rows = np.zeros(len(points), PARTICLE_DTYPE)
    rows["mcst_index"] = rows["mct_index"] = NO_INDEX
    rows["trackid"] = rows["parent_trackid"] = rows["ancestor_trackid"] = NO_TRACK
    rows["shape"], rows["dist_travel"], rows["interaction_type"] = NO_SHAPE, NO_NUMBER, NO_NUMBER
    rows["pdg"], rows["current_type"] = PARTICLES.get(int(readout.classes[0]), (0, NO_NUMBER))
    rows["process"] = b"prediction"
    for axis, values in zip("xyz", points.T, strict=True):
        rows["vtx"][axis] = values
    return rows
