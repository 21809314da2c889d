"""What is measured: everything from one exact confusion matrix per image and plane.

Counts are integers on the device (an image's plane has at most 2.6 million pixels, so int32 holds one image; sums
over images are int64). The headline value of a metric averages the per-image values over the images, as the
reference does and the paper reports; the pooled value is the metric of the summed confusion matrix.

With C[t, p] the number of pixels of true class t predicted as p:
    accuracy                 sum_t C[t, t] / sum C
    nonbackground_accuracy   sum_{t > 0} C[t, t] / sum_{t > 0, p} C[t, p]
    <class>_iou              C[c, c] / (sum_p C[c, p] + sum_t C[t, c] - C[c, c])
    mean_iou                 mean of cosmic_iou and neutrino_iou
    <class>_precision        C[c, c] / sum_t C[t, c]
    <class>_recall           C[c, c] / sum_p C[c, p]
where nothing is there to be counted (0 / 0) the value is 1, as the reference has it for an empty union.
"""

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.detector import BACKGROUND, CLASS_NAMES, COSMIC, N_CLASSES, NEUTRINO

HEADLINE_METRICS = ("accuracy", "nonbackground_accuracy", "cosmic_iou", "neutrino_iou", "mean_iou")
CLASS_METRICS = tuple(f"{name}_{kind}" for name in CLASS_NAMES for kind in ("precision", "recall"))
METRICS = HEADLINE_METRICS + CLASS_METRICS


def confusion_counts(labels, predictions, multiplicity=None):
    """Confusion matrices of each image and plane.

    Args:
        labels: integer [batch, planes, ...], true class.
        predictions: integer [batch, planes, ...], predicted class.
        multiplicity: optional integer [batch, planes, ...]: how many equal pixels an element stands for.

    Returns:
        int32 [batch, planes, true class, predicted class].
    """
    batch, planes = ops.shape(labels)[:2]
    labels = ops.cast(ops.reshape(labels, (batch, planes, -1)), "int32")
    predictions = ops.cast(ops.reshape(predictions, (batch, planes, -1)), "int32")
    cell = labels * N_CLASSES + predictions
    if multiplicity is not None:
        multiplicity = ops.cast(ops.reshape(multiplicity, (batch, planes, -1)), "int32")

    def count(index):
        hit = ops.cast(cell == index, "int32")
        return ops.sum(hit if multiplicity is None else hit * multiplicity, axis=-1)

    counts = ops.stack([count(index) for index in range(N_CLASSES**2)], axis=-1)
    return ops.reshape(counts, (batch, planes, N_CLASSES, N_CLASSES))


def metrics_from_counts(counts, backend=np) -> dict:
    """Every metric of METRICS from confusion matrices.

    Args:
        counts: [..., true class, predicted class], integers.
        backend: numpy for arrays of the host (the result is float64), keras.ops for tensors (float64 where the
            backend has it).

    Returns:
        name -> array of the leading shape.
    """
    counts = backend.cast(counts, "float64") if backend is ops else np.asarray(counts, np.float64)
    true, predicted = backend.sum(counts, axis=-1), backend.sum(counts, axis=-2)
    right = [counts[..., c, c] for c in range(N_CLASSES)]
    total = backend.sum(true, axis=-1)

    def ratio(part, whole):
        return backend.where(whole > 0, part / backend.where(whole > 0, whole, 1.0), 1.0)

    def iou(c):
        return ratio(right[c], true[..., c] + predicted[..., c] - right[c])

    values = {
        "accuracy": ratio(sum(right), total),
        "nonbackground_accuracy": ratio(right[COSMIC] + right[NEUTRINO], total - true[..., BACKGROUND]),
        "cosmic_iou": iou(COSMIC),
        "neutrino_iou": iou(NEUTRINO),
    }
    values["mean_iou"] = (values["cosmic_iou"] + values["neutrino_iou"]) / 2
    for c, name in enumerate(CLASS_NAMES):
        values[f"{name}_precision"] = ratio(right[c], predicted[..., c])
        values[f"{name}_recall"] = ratio(right[c], true[..., c])
    return values


def plane_key(name: str, plane: int) -> str:
    """The name under which a metric of one plane is logged: "cosmic_iou/plane0"."""
    return f"{name}/plane{plane}"


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentationMetrics(keras.metrics.Metric):
    """Streams confusion matrices and gives every metric, per plane and averaged over the planes.

    Exact under partial batches (sample_weight 0 leaves an image out), any batch size and any rank count: the state is
    integer counts and float64 sums of per-image values.

    Args:
        planes: number of wire planes.

    The result is a dict: "cosmic_iou" (headline, averaged over planes), "cosmic_iou/plane0", ..., and
    "pooled/cosmic_iou" from the summed confusion matrices, averaged over planes.
    """

    def __init__(self, planes: int, name: str = "segmentation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.planes = planes
        self.counts = self.add_variable((planes, N_CLASSES, N_CLASSES), "zeros", dtype="int64", name="counts")
        self.sums = self.add_variable((len(METRICS), planes), "zeros", dtype="float64", name="sums")
        self.images = self.add_variable((), "zeros", dtype="int64", name="images")

    def update_state(self, y_true, y_pred, sample_weight=None, multiplicity=None):
        """Adds a batch: labels [batch, planes, ...] and logits [batch, planes, ..., classes]."""
        self.update_from_counts(confusion_counts(y_true, ops.argmax(y_pred, axis=-1), multiplicity), sample_weight)

    def update_from_counts(self, counts, sample_weight=None):
        """Adds images given as confusion matrices [batch, planes, true, predicted]."""
        keep = ops.ones(ops.shape(counts)[:1]) if sample_weight is None else sample_weight
        keep = ops.cast(ops.cast(keep, "float32") > 0, "int64")
        kept = ops.cast(counts, "int64") * keep[:, None, None, None]
        values = metrics_from_counts(counts, ops)
        stacked = ops.stack([values[name] for name in METRICS]) * ops.cast(keep, "float64")[None, :, None]
        self.counts.assign_add(ops.sum(kept, axis=0))
        self.sums.assign_add(ops.sum(stacked, axis=1))
        self.images.assign_add(ops.sum(keep))

    def result(self):
        """name -> scalar (see the class)."""
        images = ops.maximum(ops.cast(self.images.value, "float64"), 1.0)
        headline = self.sums.value / images
        pooled = metrics_from_counts(self.counts.value, ops)
        result = {}
        for i, name in enumerate(METRICS):
            result[name] = ops.mean(headline[i])
            result[f"pooled/{name}"] = ops.mean(pooled[name])
            for plane in range(self.planes):
                result[plane_key(name, plane)] = headline[i, plane]
        return result

    def get_config(self):
        """What from_config needs."""
        return {**super().get_config(), "planes": self.planes}
