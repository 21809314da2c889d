"""Export to a TensorFlow SavedModel that needs neither this package nor Keras to run.

Signatures, batch dimension open, float32 in and out (the forms that LArSoft's larrecodnn reads are `flat` and
`per_view`):
    serving_default, dense   images [samples, rows, columns, planes] -> scores [samples, rows, columns, planes, classes]
    flat                     images, the same -> scores [samples, rows * columns * planes * classes]
    per_view                 plane0, plane1, ... [samples, rows, columns, 1]
                             -> scores0, scores1, ... [samples, rows, columns, classes]
    pixels                   coordinates int32 [samples, planes, pixels, 2] (row, column; padding -1) and values float32
                             [samples, planes, pixels] -> scores [samples, planes, pixels, classes] of those pixels
"""

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf
from keras import ops

from cosmictagger_tf import execution
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.detector import CLASS_NAMES, N_CLASSES, ImageShape
from cosmictagger_tf.files import replaced_folder, write_json
from cosmictagger_tf.inference.trained import find_trained
from cosmictagger_tf.networks.segmentation import DenseSegmenter
from cosmictagger_tf.runs import RunFolder


def export_saved_model(segmenter: DenseSegmenter, path: Path, record: dict):
    """Writes the SavedModel; an existing folder of that name is replaced once the new one is complete.

    Args:
        segmenter: built under the float32 policy, weights loaded.
        path: the folder.
        record: what metadata.json says beside class names, image shape and versions.
    """
    shape = segmenter.shape
    archive = keras.export.ExportArchive()
    archive.track(segmenter.network)
    for name, (function, signature) in _signatures(segmenter).items():
        archive.add_endpoint(name, function, input_signature=signature)
    with replaced_folder(path) as beside:
        with contextlib.redirect_stdout(io.StringIO()):
            archive.write_out(str(beside), verbose=False)
        size = {"planes": shape.planes, "rows": shape.height, "columns": shape.width}
        write_json(beside / "metadata.json", {"classes": CLASS_NAMES, "image": size, **record, **execution.describe()})


def _signatures(segmenter):
    shape = segmenter.shape

    def scores_of(images):
        # [samples, rows, columns, planes] -> [samples, rows, columns, planes, classes]
        logits = segmenter.network(ops.transpose(images, (0, 3, 1, 2)), training=False)
        return ops.transpose(ops.softmax(logits, axis=-1), (0, 2, 3, 1, 4))

    def dense(images):
        return {"scores": scores_of(images)}

    def flat(images):
        return {"scores": ops.reshape(scores_of(images), (-1, shape.pixels * shape.planes * N_CLASSES))}

    def per_view(*views):
        scores = scores_of(ops.concatenate(views, axis=-1))
        return {f"scores{plane}": scores[..., plane, :] for plane in range(shape.planes)}

    def pixels(coordinates, values):
        images = segmenter.scatter(coordinates, values)
        scores = ops.softmax(segmenter.network(images, training=False), axis=-1)
        rows, columns = ops.maximum(coordinates[..., 0], 0), ops.maximum(coordinates[..., 1], 0)
        flat_scores = ops.reshape(scores, (-1, shape.planes, shape.pixels, N_CLASSES))
        return {"scores": ops.take_along_axis(flat_scores, (rows * shape.width + columns)[..., None], axis=2)}

    images = tf.TensorSpec((None, shape.height, shape.width, shape.planes), tf.float32, name="images")
    views = [
        tf.TensorSpec((None, shape.height, shape.width, 1), tf.float32, name=f"plane{p}") for p in range(shape.planes)
    ]
    coordinates = tf.TensorSpec((None, shape.planes, None, 2), tf.int32, name="coordinates")
    values = tf.TensorSpec((None, shape.planes, None), tf.float32, name="values")
    return {
        "serving_default": (dense, [images]),
        "dense": (dense, [images]),
        "flat": (flat, [images]),
        "per_view": (per_view, views),
        "pixels": (pixels, [coordinates, values]),
    }


def export_run(given, output, weights, export, data, network, settings) -> Path:
    """Exports a run's network, in float32 whatever its training precision; returns the SavedModel's folder.

    Args:
        given: names of the options that the user set.
        output, weights, export, data, network, settings: the configs of those names.

    Raises:
        UserError: no such run, weights that do not fit.
    """
    execution.prepare(replace(settings, precision="float32"))
    folder = RunFolder(output)
    trained = find_trained(given, folder, data, network, weights)
    shape = open_reader(trained.data).shape if data.file else ImageShape()
    segmenter = trained.segmenter(shape)
    path = Path(export.export_dir) if export.export_dir else folder.path / "saved_model"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"network": trained.network.to_dict(), "downsample": trained.data.downsample, "step": trained.step}
    export_saved_model(segmenter, path, record)
    return path
