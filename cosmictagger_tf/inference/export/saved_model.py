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

A network with heads gives events too (served_network.event_outputs), as further outputs of dense and pixels and by a
signature of their own:
    events            images, the same -> event_logits, event_probabilities, vertices, vertex_scores
The flat and per_view signatures give scores alone, since LArSoft takes all outputs for scores.

A pixel outside the image counts as padding, whose scores are 0; one that is listed twice has the sum of its values. A
sample with a value that is not finite has no results: all of them are NaN, as are the scores of a pixel whose own
logits overflow.

With preprocessing, images and coordinates are at the file's resolution and are downsampled inside; the scores of images
stay at the network's resolution, those of pixels are their blocks', and vertices are at the file's.
"""

import os
import re
import shutil
from pathlib import Path

import tensorflow as tf
from keras import ops

from cosmictagger_tf import execution
from cosmictagger_tf.detector import CLASS_NAMES, EVENT_CLASS_NAMES, N_CLASSES
from cosmictagger_tf.files import replaced_folder, write_json
from cosmictagger_tf.geometry import CM_PER_ROW, PITCH
from cosmictagger_tf.inference.export.served_network import SCORES, ServedNetwork
from cosmictagger_tf.progress import activity

DEFAULT, EVENTS = "serving_default", "events"
# The files of an export.
WRITTEN = re.compile(r"(saved_model|fingerprint|keras_metadata)\.pb|metadata\.json|variables/variables\..*")


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
    events = {"event_classes": EVENT_CLASS_NAMES} if served.has_heads else {}
    return {
        "classes": CLASS_NAMES,
        **events,
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

    def flat(images):
        scores = served.image_results(images)[SCORES]
        return {SCORES: ops.reshape(scores, (-1, served.output.pixels * planes * N_CLASSES))}

    def per_view(*views):
        scores = served.image_results(ops.concatenate(views, axis=-1))[SCORES]
        return {f"scores{plane}": scores[..., plane, :] for plane in range(planes)}

    def per_view_flat(*views):
        return {
            name: ops.reshape(scores, (-1, served.output.pixels * N_CLASSES))
            for name, scores in per_view(*views).items()
        }

    def events(images):
        return {name: output for name, output in served.image_results(images).items() if name != SCORES}

    images = tf.TensorSpec((None, shape.height, shape.width, planes), tf.float32, name="images")
    views = [tf.TensorSpec((None, shape.height, shape.width, 1), tf.float32, name=f"plane{p}") for p in range(planes)]
    coordinates = tf.TensorSpec((None, planes, None, 2), tf.int32, name="coordinates")
    values = tf.TensorSpec((None, planes, None), tf.float32, name="values")
    signatures = {
        "dense": (served.image_results, [images]),
        "flat": (flat, [images]),
        "per_view": (per_view, views),
        "per_view_flat": (per_view_flat, views),
        "pixels": (served.pixel_results, [coordinates, values]),
    }
    return signatures | ({EVENTS: (events, [images])} if served.has_heads else {})
