"""A trained network whose pixels are those of a working point, in every command."""

from keras import ops

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.detector import NEUTRINO
from cosmictagger_tf.networks.segmentation import EVENT, Segmentation, Segmenter, scores_of


class CalibratedSegmenter:
    """A Segmenter whose logits of pixels are the logarithms of calibrated probabilities, and a working point's shifts.

    So their softmax is the score, and the greatest the class, see Calibration.at_point. What the heads give stays as it
    comes.

    Args:
        segmenter: the trained network, weights loaded.
        calibration: of the weights.
        point: the working point.
        joins: whether the pixels' probabilities are multiplied by the event's, which the network itself did not do.
    """

    def __init__(self, segmenter: Segmenter, calibration: Calibration, point: WorkingPoint, joins: bool = False):
        self.segmenter, self.calibration, self.point = segmenter, calibration, point
        self.joins = joins
        self.network, self.shape, self.head_design = segmenter.network, segmenter.shape, segmenter.head_design

    @property
    def prepare(self):
        return self.segmenter.prepare

    def _at_point(self, logits, heads):
        return self.calibration.at_point(self.point, logits, heads.get(EVENT) if self.joins else None, ops)

    def neutrino_probabilities(self, logits, heads):
        """P(pixel is of a neutrino), [batch, ...], whatever the working point calls it, joined as the network does.

        Args:
            logits: of pixels, [batch, ..., classes], as this gives them.
            heads: as this gives them.
        """
        shifts = ops.convert_to_tensor(self.point.shifts, "float32")
        probabilities = scores_of(logits - shifts)[..., NEUTRINO]
        if self.joins and not self.point.joined:
            has, _ = self.calibration.log_has_neutrino(heads[EVENT], ops)
            probabilities *= ops.reshape(ops.exp(has), (-1, *[1] * (len(probabilities.shape) - 1)))
        return probabilities

    def outputs(self, batch, training: bool = False):
        logits, heads = self.segmenter.outputs(batch, training)
        return self._at_point(logits, heads), heads

    def pixel_outputs(self, batch, training: bool = False):
        logits, heads = self.segmenter.pixel_outputs(batch, training)
        return self._at_point(logits, heads), heads

    def image_outputs(self, images):
        logits, heads = self.segmenter.image_outputs(images)
        return self._at_point(logits, heads), heads

    def logits(self, batch, training: bool = False):
        return self.outputs(batch, training)[0]

    def pixel_logits(self, batch, training: bool = False):
        return self.pixel_outputs(batch, training)[0]

    def __call__(self, batch, training: bool = False) -> Segmentation:
        segmentation = self.segmenter(batch, training=training)
        return segmentation._replace(logits=self._at_point(segmentation.logits, segmentation.heads))

    def at_listed_pixels(self, segmentation: Segmentation, batch):
        return self.segmenter.at_listed_pixels(segmentation, batch)
