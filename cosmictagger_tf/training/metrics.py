"""What is measured: everything from one exact confusion matrix per image and plane.

Counts of an image's plane are int32; what is summed over images is exact on every backend (exact_sums.py). The headline
value of a metric averages the per-image values over the images, as the reference does and the paper reports; the pooled
value is the metric of the summed confusion matrix.

With C[t, p] the number of pixels of true class t predicted as p:
    accuracy                 sum_t C[t, t] / sum C
    nonbackground_accuracy   sum_{t > 0} C[t, t] / sum_{t > 0, p} C[t, p]
    <class>_iou              C[c, c] / (sum_p C[c, p] + sum_t C[t, c] - C[c, c])
    mean_iou                 mean of cosmic_iou and neutrino_iou
    <class>_precision        C[c, c] / sum_t C[t, c]
    <class>_recall           C[c, c] / sum_p C[c, p]
where nothing is counted (0 / 0) the value is 1, as the reference has it for an empty union.
"""

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.backend import WIDEST_FLOAT, argmax
from cosmictagger_tf.detector import BACKGROUND, CLASS_NAMES, COSMIC, N_CLASSES, NEUTRINO
from cosmictagger_tf.networks.segmentation import Segmentation
from cosmictagger_tf.training import exact_sums
from cosmictagger_tf.training.losses import per_image_loss

HEADLINE_METRICS = ("accuracy", "nonbackground_accuracy", "cosmic_iou", "neutrino_iou", "mean_iou")
CLASS_METRICS = tuple(f"{name}_{kind}" for name in CLASS_NAMES for kind in ("precision", "recall"))
METRICS = HEADLINE_METRICS + CLASS_METRICS
# Every metric but mean_iou is a ratio of two sums of counts.
RATIOS = tuple(name for name in METRICS if name != "mean_iou")


def ratios(counts) -> list[tuple]:
    """For each of RATIOS its two sums of counts.

    Args:
        counts: [..., true class, predicted class]; an array or a tensor.
    """
    right = [counts[..., c, c] for c in range(N_CLASSES)]
    true = [sum(counts[..., c, p] for p in range(N_CLASSES)) for c in range(N_CLASSES)]
    predicted = [sum(counts[..., t, c] for t in range(N_CLASSES)) for c in range(N_CLASSES)]
    pairs = {
        "accuracy": (sum(right), sum(true)),
        "nonbackground_accuracy": (right[COSMIC] + right[NEUTRINO], sum(true) - true[BACKGROUND]),
    }
    for c, name in enumerate(CLASS_NAMES):
        pairs[f"{name}_iou"] = (right[c], true[c] + predicted[c] - right[c])
        pairs[f"{name}_precision"] = (right[c], predicted[c])
        pairs[f"{name}_recall"] = (right[c], true[c])
    return [pairs[name] for name in RATIOS]


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


def measures(segmentation: Segmentation, scheme: str, training: bool = False) -> dict:
    """Of each image the loss and the confusion matrices.

    Args:
        segmentation: labels and logits of a batch.
        scheme: the loss's balance scheme.
        training: leave "not_finite" out, which the optimizer's guard checks.

    Returns:
        {"losses": float32 [batch], "counts": int32 [batch, planes, true, predicted], "not_finite": int32 [batch,
        planes]}: the last is the number of elements with a logit that is not finite, where counts mean nothing.
    """
    labels, logits, multiplicity, _ = segmentation
    values = {
        "losses": per_image_loss(labels, logits, scheme, multiplicity),
        "counts": confusion_counts(labels, argmax(logits), multiplicity),
    }
    if not training:
        wrong = ops.logical_not(ops.all(ops.isfinite(logits), axis=-1))
        values["not_finite"] = ops.sum(ops.cast(wrong, "int32"), axis=tuple(range(2, len(wrong.shape))))
    return values


def metrics_from_counts(counts, backend=np) -> dict:
    """Every metric of METRICS from confusion matrices.

    Args:
        counts: [..., true class, predicted class], integers.
        backend: numpy for arrays of the host (the result is float64), keras.ops for tensors (float64 where the
            Keras backend has it).

    Returns:
        name -> array of the leading shape.
    """
    counts = backend.cast(counts, WIDEST_FLOAT) if backend is ops else np.asarray(counts, np.float64)

    def ratio(part, whole):
        return backend.where(whole > 0, part / backend.where(whole > 0, whole, 1.0), 1.0)

    return with_mean_iou([ratio(part, whole) for part, whole in ratios(counts)])


def with_mean_iou(values) -> dict:
    """name -> value for every metric of METRICS, from those of RATIOS."""
    by_name = dict(zip(RATIOS, values, strict=True))
    by_name["mean_iou"] = (by_name["cosmic_iou"] + by_name["neutrino_iou"]) / 2
    return {name: by_name[name] for name in METRICS}


def plane_key(name: str, plane: int) -> str:
    """The name under which a metric of one plane is logged: "cosmic_iou/plane0"."""
    return f"{name}/plane{plane}"


def named_metrics(headline: dict, pooled: dict, mean=np.mean) -> dict:
    """The metrics as records and reports name them: "cosmic_iou", "cosmic_iou/plane0", "pooled/cosmic_iou", ...

    Args:
        headline, pooled: name -> values [planes, ...], of the images' means and of the summed confusion matrices.
        mean: takes the values to their mean over the planes.
    """
    result = {}
    for prefix, values in (("", headline), ("pooled/", pooled)):
        for name in METRICS:
            result[prefix + name] = mean(values[name])
            for plane in range(len(values[name])):
                result[prefix + plane_key(name, plane)] = values[name][plane]
    return result


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentationMetrics(keras.metrics.Metric):
    """Streams losses and confusion matrices, and gives the mean loss and every metric, by plane and over the planes.

    Exact under partial batches (sample_weight 0 leaves an image out), any batch size and any rank count: its one
    variable, `sums`, int32 [DIGITS, numbers], adds up (see exact_sums.py).

    Args:
        planes: number of wire planes.

    The result is a dict: "loss", and what named_metrics names.
    """

    def __init__(self, planes: int, name: str = "segmentation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.planes = planes
        # Images, losses that are no number or beyond all sense, and losses; counts; ratios.
        self.sizes = (1, 1, 1, planes * N_CLASSES**2, len(RATIOS) * planes)
        shape = (exact_sums.DIGITS, sum(self.sizes))
        self.sums = self.add_variable(shape, "zeros", dtype="int32", name="sums")

    def update_state(self, y_true, y_pred, sample_weight=None, multiplicity=None):
        """Adds a batch: labels [batch, planes, ...] and logits [batch, planes, ..., classes]."""
        self.update_from_counts(confusion_counts(y_true, argmax(y_pred), multiplicity), sample_weight)

    def update_from_counts(self, counts, sample_weight=None, losses=None):
        """Adds images given as confusion matrices [batch, planes, true, predicted], and their losses, float32 [batch].

        An image's plane has less than exact_sums.LARGEST_COUNT pixels, a batch less than 2^17 images.
        """
        kept = ops.ones(ops.shape(counts)[:1]) if sample_weight is None else sample_weight
        kept = ops.cast(kept > 0, "int32")
        losses = ops.zeros_like(ops.cast(kept, "float32")) if losses is None else ops.cast(losses, "float32")
        # Not a number compares as False.
        sound = ops.abs(losses) < exact_sums.LARGEST_FLOAT
        flags = ops.stack([kept, kept * ops.cast(ops.logical_not(sound), "int32")], axis=1)
        parts, wholes = (ops.stack(part, axis=1) for part in zip(*ratios(counts), strict=True))
        digits = ops.concatenate(
            [
                exact_sums.of_integers(flags),
                exact_sums.of_floats(ops.where(sound, losses, 0.0))[..., None],
                exact_sums.of_integers(ops.reshape(counts, (-1, self.sizes[3]))),
                exact_sums.of_ratios(*(ops.reshape(part, (-1, self.sizes[4])) for part in (parts, wholes))),
            ],
            axis=-1,
        )
        added = ops.sum(digits * kept[None, :, None], axis=1)
        self.sums.assign(exact_sums.carried(self.sums.value + ops.cast(added, "int32")))

    def result(self, backend=ops):
        """name -> scalar (see the class); with numpy for `backend` float64 on every Keras backend."""
        sums = np.asarray(self.sums.value) if backend is np else self.sums.value
        images, unsound, loss, counts, values = backend.split(sums, np.cumsum(self.sizes[:-1]).tolist(), axis=1)
        images, unsound, loss = (exact_sums.to_floats(part, backend)[0] for part in (images, unsound, loss))
        one = backend.maximum(images, 1.0)
        counts = backend.reshape(exact_sums.to_floats(counts, backend), (self.planes, N_CLASSES, N_CLASSES))
        values = backend.reshape(exact_sums.to_floats(values, backend), (len(RATIOS), self.planes)) / one
        headline = with_mean_iou([values[i] for i in range(len(RATIOS))])
        metrics = named_metrics(headline, metrics_from_counts(counts, backend), backend.mean)
        return {"loss": backend.where(unsound > 0, float("nan"), loss / one), **metrics}

    @property
    def counts(self) -> np.ndarray:
        """int64 [planes, true class, predicted class], summed over the images."""
        first = sum(self.sizes[:3])
        counts = exact_sums.to_integers(np.asarray(self.sums.value)[:, first : first + self.sizes[3]])
        return counts.reshape(self.planes, N_CLASSES, N_CLASSES)

    @property
    def unsound_losses(self) -> int:
        """Images so far whose loss is not finite, or beyond exact_sums.LARGEST_FLOAT."""
        return int(exact_sums.to_integers(np.asarray(self.sums.value)[:, 1]))

    def add_ranks(self, ranks):
        """Gives rank 0 the sums of all ranks, and the others nothing; all call it at the same time."""
        (total,) = ranks.sum([np.asarray(self.sums.value)])
        self.sums.assign(exact_sums.carried(total) if ranks.rank == 0 else np.zeros_like(total))

    def get_config(self):
        return {**super().get_config(), "planes": self.planes}
