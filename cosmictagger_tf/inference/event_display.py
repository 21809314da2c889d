"""Event displays: image, truth and prediction of a readout, plane by plane."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm

from cosmictagger_tf import execution
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.detector import ADC_THRESHOLD, CLASS_NAMES
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.inference.predict import Predictor
from cosmictagger_tf.inference.trained import find_trained
from cosmictagger_tf.runs import RunFolder

# Okabe and Ito's colours, told apart with every common colour blindness: white, blue (cosmic), vermillion (neutrino).
CLASS_COLORS = ("#ffffff", "#0072b2", "#d55e00")
# A dot a pixel: an image drawn smaller than its pixels would lose most of its single ones.
DOTS = {"s": 0.6, "marker": "s", "linewidths": 0, "rasterized": True}


def draw_event(path: Path, title: str, image, truth=None, prediction=None, downsample: int = 0):
    """Draws one event to a PNG or PDF file: a row a plane, a column each for image, truth and prediction.

    Args:
        path: the file; its ending chooses the format.
        title: headline.
        image: float [planes, height, width], ADC.
        truth: optional integer [planes, height, width], class indices.
        prediction: optional, likewise.
        downsample: a pixel spans 2**downsample wires and ticks.
    """
    columns = [("image (ADC)", None)]
    columns += [("truth", truth)] if truth is not None else []
    columns += [("prediction", prediction)] if prediction is not None else []
    planes, height, width = image.shape
    figure, axes = plt.subplots(
        planes, len(columns), figsize=(5.2 * len(columns), 3.5 * planes), squeeze=False, layout="constrained"
    )
    for plane in range(planes):
        for axis, (name, classes) in zip(axes[plane], columns, strict=True):
            if classes is None:
                _draw_charge(figure, axis, image[plane])
            else:
                _draw_classes(axis, classes[plane])
            axis.set(title=f"plane {plane}: {name}", xlabel="wire", ylabel="drift time (ticks)")
            axis.set(xlim=(0, width), ylim=(height, 0))
            for ticks in (axis.xaxis, axis.yaxis):
                ticks.set_major_formatter(lambda pixel, _: f"{pixel * 2**downsample:.0f}")
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in CLASS_COLORS[1:]]
    if len(columns) > 1:
        figure.legend(handles, CLASS_NAMES[1:], loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    with replaced_file(Path(path)) as beside:
        figure.savefig(beside, dpi=130, format=Path(path).suffix[1:])
    plt.close(figure)


def _draw_charge(figure, axis, charge):
    rows, columns = np.nonzero(charge)
    values = charge[rows, columns]
    top = max(float(values.max(initial=0)), 10 * ADC_THRESHOLD)
    marks = axis.scatter(columns, rows, c=values, norm=LogNorm(top / 100, top), cmap="viridis_r", **DOTS)
    figure.colorbar(marks, ax=axis, pad=0.01, label="ADC")


def _draw_classes(axis, classes):
    for index in range(1, len(CLASS_NAMES)):
        rows, columns = np.nonzero(classes == index)
        axis.scatter(columns, rows, color=CLASS_COLORS[index], **DOTS)


def display_events(given, display, output, weights, data, network, settings) -> Iterator[Path]:
    """Draws the chosen events, one picture each; yields each path when it is written.

    Args:
        given: names of the options that the user set.
        display, output, weights, data, network, settings: the configs of those names.

    Raises:
        UserError: no such entry or run, weights that do not fit, a bad entry.
    """
    execution.prepare(settings)
    trained = find_trained(given, RunFolder(output), data, network, weights) if display.predict else None
    data = trained.data if trained else data
    reader = open_reader(data)
    predictor = Predictor(trained.segmenter(reader.shape), settings.xla) if trained else None
    folder = Path(display.display_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for entry in map(int, display.entries):
        if entry >= len(reader):
            raise ConfigError(f"--entries={entry}: {', '.join(reader.files)} has the entries 0 to {len(reader) - 1}")
        event = downsample_event(reader.read(entry), data.downsample)
        prediction = predict_classes(predictor, event) if predictor else None
        truth = dense_planes(event.label, event.shape) if event.label else None
        path = folder / f"event_{entry}.{display.display_format}"
        title = f"{Path(reader.files[0]).name}, entry {entry}, downsample {data.downsample}"
        draw_event(path, title, dense_planes(event.image, event.shape), truth, prediction, data.downsample)
        yield path


def dense_planes(planes, shape):
    """float32 [planes, height, width] of one PlanePixels a plane."""
    return np.stack([pixels.dense(shape.height, shape.width) for pixels in planes])


def predict_classes(predictor: Predictor, event: Event):
    """The predicted class of every pixel of an event, integer [planes, height, width]."""
    return np.argmax(predictor.predict_on_batch(make_batch([event], 1, event.shape))[0], axis=-1)
