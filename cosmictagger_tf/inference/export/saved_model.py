"""Export to a TensorFlow SavedModel that needs neither this package nor Keras to run.

Signatures, batch dimension open, float32 in and out:
    dense             images [samples, rows, columns, planes] -> scores [samples, rows, columns, planes, classes]
    flat              images, the same -> scores [samples, rows * columns * planes * classes]
    per_view          plane0, plane1, ... [samples, rows, columns, 1]
                      -> scores0, scores1, ... [samples, rows, columns, classes]
    per_view_flat     the same -> scores0, scores1, ... [samples, rows * columns * classes]
    pixels            coordinates int32 [samples, planes, pixels, 2] (row, column; padding -1) and values float32
                      [samples, planes, pixels] -> scores [samples, planes, pixels, classes] of those pixels
    serving_default   one of these: LArSoft's larrecodnn calls it and no other, and reads outputs [samples, n], so that
                      it wants flat or per_view_flat

A pixel outside the image counts as padding, whose scores are 0; one that is listed twice has the sum of its values. A
sample with a value that is not finite has no scores: all of them are NaN, as are those of a pixel whose own logits
overflow.

With preprocessing, images and coordinates are at the file's resolution and are downsampled inside; the scores of images
stay at the network's resolution, and those of pixels are their blocks'.
"""

import math
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cosmictagger_tf import execution
from cosmictagger_tf.detector import CLASS_NAMES, N_CLASSES, PADDING_COORDINATE, ImageShape
from cosmictagger_tf.files import replaced_folder, write_json
from cosmictagger_tf.geometry import CM_PER_ROW, PITCH
from cosmictagger_tf.networks.scatter import ScatterPixels, at_pixels
from cosmictagger_tf.networks.segmentation import Segmenter, scores_of
from cosmictagger_tf.progress import activity

DEFAULT = "serving_default"
# The files of an export.
WRITTEN = re.compile(r"(saved_model|fingerprint|keras_metadata)\.pb|metadata\.json|variables/variables\..*")


class ServedNetwork:
    """A network as the signatures see it: images or pixels in, scores out.

    Args:
        segmenter: built under the float32 policy, weights loaded.
        downsample: halvings that are done inside; 0 = the input is at the network's resolution.
        default: the signature that serving_default is.
    """

    def __init__(self, segmenter: Segmenter, downsample: int = 0, default: str = "dense"):
        self.segmenter, self.downsample, self.default = segmenter, downsample, default
        self.output = segmenter.shape
        self.input = ImageShape(self.output.planes, self.output.height << downsample, self.output.width << downsample)
        self.scatter = ScatterPixels(self.output.height, self.output.width)
        variables = segmenter.network.variables
        self.weights = tf.Variable(np.concatenate([np.ravel(variable) for variable in variables]), name="weights")
        # Traced once, and called by the signatures.
        self.image_scores = tf.function(self._with_weights(self._image_scores), autograph=False)
        self.pixel_scores = tf.function(self._with_weights(self._pixel_scores), autograph=False)

    def _with_weights(self, function):
        """The function, with the network's weights out of the one variable that has them all.

        Each function of a SavedModel hands the variables of those that it calls on to them, which takes longer than all
        else where there are hundreds.
        """
        variables = self.segmenter.network.variables

        def compute(*inputs):
            parts = tf.split(self.weights, [math.prod(variable.shape) for variable in variables])
            values = [tf.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)]
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(*inputs)

        return compute

    def _image_scores(self, images):
        """[samples, rows, columns, planes] -> [samples, rows, columns, planes, classes]."""
        finite = ops.all(ops.isfinite(images), axis=(1, 2, 3), keepdims=True)[..., None]
        images = ops.transpose(images, (0, 3, 1, 2))
        if self.downsample:
            size, out = 2**self.downsample, self.output
            images = ops.reshape(images, (-1, out.planes, out.height, size, out.width, size))
            images = ops.mean(images, axis=(3, 5))
        scores = scores_of(self.segmenter.image_outputs(images)[0])
        return ops.where(finite, ops.transpose(scores, (0, 2, 3, 1, 4)), float("nan"))

    def _pixel_scores(self, coordinates, values):
        """The scores [samples, planes, pixels, classes] of pixels, 0 where padded or outside the image."""
        size = ops.convert_to_tensor([self.input.height, self.input.width], dtype="int32")
        inside = ops.all((coordinates >= 0) & (coordinates < size), axis=-1, keepdims=True)
        coordinates = ops.where(inside, coordinates, PADDING_COORDINATE)
        values = ops.where(inside[..., 0], values, 0.0)
        finite = ops.all(ops.isfinite(values), axis=(1, 2), keepdims=True)[..., None]
        if self.downsample:
            coordinates = ops.floor_divide(coordinates, 2**self.downsample)
            # The pixels of a block add up in the scatter; absent ones count 0.
            images = self.scatter(coordinates, values / 4**self.downsample)
            scores = at_pixels(scores_of(self.segmenter.image_outputs(images)[0]), coordinates)
        else:
            batch = {"image_coordinates": coordinates, "image_values": values}
            scores = scores_of(self.segmenter.pixel_logits(batch))
        return ops.where(inside, ops.where(finite, scores, float("nan")), 0.0)


def export_saved_model(served: ServedNetwork, path: Path, record: dict):
    """Writes the SavedModel; an existing folder of that name is replaced once the new one is complete.

    Args:
        served: what the signatures do.
        path: the folder.
        record: what metadata.json has beside classes, geometry, signatures and versions.
    """
    module = tf.Module()
    module.weights = served.weights
    for name, (function, signature) in _signatures(served).items():
        # Traced as it is saved: TensorFlow would trace once more what is traced before.
        setattr(module, name, tf.function(announced(name, function), input_signature=signature, autograph=False))
    setattr(module, DEFAULT, getattr(module, served.default))
    signatures = {name: getattr(module, name) for name in (*_signatures(served), DEFAULT)}
    # For inference: gradients of its own would be traced for each operation that has some.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with replaced_folder(path) as beside:
        with activity("writing the model"):
            tf.saved_model.save(module, str(beside), signatures, options)
        write_json(beside / "metadata.json", {**describe_model(served), **record, **execution.describe()})
        keep_others(path, beside)


def announced(name: str, function):
    """The function of a signature, which shows that it is traced."""

    def compute(*inputs):
        with activity(f"tracing the signature {name}"):
            return function(*inputs)

    return compute


def keep_others(old: Path, new: Path):
    """Takes what an export did not write from one folder over to the one that replaces it."""
    for file in old.rglob("*"):
        place = file.relative_to(old)
        if not WRITTEN.fullmatch(str(place)) and (file.is_symlink() or not file.is_dir()):
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, new / place, follow_symlinks=False)
            except OSError:
                # Not every file system has links.
                shutil.copy2(file, new / place, follow_symlinks=False)


# Of SBND's images.
GEOMETRY = {
    "rows": "drift time, both TPCs, the cathode in the middle",
    "cm_per_full_resolution_row": CM_PER_ROW,
    "columns": "wires",
    "cm_per_full_resolution_column": PITCH,
}


def describe_model(served: ServedNetwork) -> dict:
    """What a user of the exported model must know: classes, sizes, normalisation, signatures."""
    signatures = _signatures(served)
    signatures = {DEFAULT: signatures[served.default], **signatures}
    return {
        "classes": CLASS_NAMES,
        "image": _size(served.input),
        "scores": _size(served.output),
        "preprocessing": {"downsample": served.downsample, "pooling": "average", "scaling": None},
        "values": "ADC as the file has them; average-pooled where the network is downsampled; no scaling",
        "serving_default": served.default,
        "signatures": {name: [_describe(spec) for spec in specs] for name, (_, specs) in signatures.items()},
    }


def _describe(spec) -> str:
    return f"{spec.name} {spec.dtype.name} {['open' if size is None else size for size in spec.shape]}"


def _size(shape):
    return {"planes": shape.planes, "rows": shape.height, "columns": shape.width}


def _signatures(served: ServedNetwork):
    shape, planes = served.input, served.input.planes

    def dense(images):
        return {"scores": served.image_scores(images)}

    def flat(images):
        return {"scores": ops.reshape(served.image_scores(images), (-1, served.output.pixels * planes * N_CLASSES))}

    def per_view(*views):
        scores = served.image_scores(ops.concatenate(views, axis=-1))
        return {f"scores{plane}": scores[..., plane, :] for plane in range(planes)}

    def per_view_flat(*views):
        return {
            name: ops.reshape(scores, (-1, served.output.pixels * N_CLASSES))
            for name, scores in per_view(*views).items()
        }

    def pixels(coordinates, values):
        return {"scores": served.pixel_scores(coordinates, values)}

    images = tf.TensorSpec((None, shape.height, shape.width, planes), tf.float32, name="images")
    views = [tf.TensorSpec((None, shape.height, shape.width, 1), tf.float32, name=f"plane{p}") for p in range(planes)]
    coordinates = tf.TensorSpec((None, planes, None, 2), tf.int32, name="coordinates")
    values = tf.TensorSpec((None, planes, None), tf.float32, name="values")
    signatures = {
        "dense": (dense, [images]),
        "flat": (flat, [images]),
        "per_view": (per_view, views),
        "per_view_flat": (per_view_flat, views),
        "pixels": (pixels, [coordinates, values]),
    }
    return signatures
