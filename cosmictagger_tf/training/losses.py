"""The loss: softmax cross-entropy per pixel, weighted so that the few neutrino pixels count.

Definitions follow the reference CosmicTagger and are pinned by its outputs (tests/parity): per image and plane the
weighted mean over the pixels, sum(w * ce) / sum(w); summed over the planes; averaged over the images. Normalising
image by image makes the loss of a batch the mean of its images' losses, whatever the batch size or the rank count.
"""

import keras
from keras import ops

from cosmictagger_tf.backend import take_rows
from cosmictagger_tf.detector import N_CLASSES

# Weight of a background, cosmic and neutrino pixel in the "light" scheme (SPEC of the reference's default training).
LIGHT_WEIGHTS = (1.0, 1.5, 10.0)
FOCAL_POWER = 2.0


def per_image_loss(labels, logits, scheme: str, multiplicity=None):
    """The balanced loss of each image.

    Args:
        labels: integer [batch, planes, ...], class index of each pixel.
        logits: float [batch, planes, ..., classes]; computed in float32 at least.
        scheme: "none", "light", "even" (each class a third of the weight: 1 / (3 * (n_class + 1)) with the class's
            pixel count in the plane) or "focal" ((1 - p_true)^2).
        multiplicity: optional, float or integer [batch, planes, ...]: how many equal pixels an element stands for
            (0 for padding). The weights carry no gradient.

    Returns:
        float32 [batch] (float64 for float64 logits).
    """
    batch, planes = ops.shape(logits)[:2]
    logits = ops.reshape(logits, (batch, planes, -1, N_CLASSES))
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    labels = ops.cast(ops.reshape(labels, (batch, planes, -1)), "int32")
    if multiplicity is not None:
        multiplicity = ops.cast(ops.reshape(multiplicity, (batch, planes, -1)), logits.dtype)
    cross_entropy = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    weights = ops.stop_gradient(_pixel_weights(labels, cross_entropy, scheme, multiplicity))
    plane_loss = _divide(ops.sum(weights * cross_entropy, axis=-1), ops.sum(weights, axis=-1))
    return ops.sum(plane_loss, axis=-1)


def _pixel_weights(labels, cross_entropy, scheme, multiplicity):
    pixels = ops.ones_like(cross_entropy) if multiplicity is None else multiplicity
    if scheme == "none":
        return pixels
    if scheme == "focal":
        return pixels * (1.0 - ops.exp(-cross_entropy)) ** FOCAL_POWER
    if scheme == "light":
        return pixels * take_rows(ops.convert_to_tensor(LIGHT_WEIGHTS, pixels.dtype), labels)
    if scheme == "even":
        truth = ops.one_hot(labels, N_CLASSES, dtype=pixels.dtype)
        counts = ops.sum(truth * pixels[..., None], axis=-2, keepdims=True)
        return pixels * ops.sum(truth / (N_CLASSES * (counts + 1.0)), axis=-1)
    raise ValueError(f"unknown loss balance scheme {scheme!r}")


def mean_over_images(losses, weights):
    """The mean of per-image losses [batch], weighted by [batch] (0 for the fillers of a partial batch)."""
    weights = ops.cast(weights, "float32")
    return _divide(ops.sum(losses * weights), ops.sum(weights))


def _divide(weighted, weights):
    # A plane whose every weight is 0 (focal, all pixels certain; or no pixel at all) has loss 0.
    return ops.where(weights > 0, weighted / ops.where(weights > 0, weights, 1.0), 0.0)
