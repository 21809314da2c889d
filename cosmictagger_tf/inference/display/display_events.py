"""Event displays: chosen events of a file as pictures or pages, with what a trained network predicts."""

from collections.abc import Callable, Iterator
from pathlib import Path

from cosmictagger_tf import execution
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import DataConfig, DisplayConfig, TruthConfig, check_image_shape
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.data.dataset import FilesReader, open_reader
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import make_folder
from cosmictagger_tf.inference.event_figure import draw_event, save_figure
from cosmictagger_tf.inference.event_picture import event_name, take_picture
from cosmictagger_tf.inference.inference_config import InferenceConfig


def display_events(display: DisplayConfig, config: InferenceConfig) -> Iterator[Path]:
    """Draws the chosen events, one picture each; yields each path when it is written.

    Raises:
        UserError: no such entry or run, weights that do not fit, a bad entry.
    """
    data, truth, calibration, build = config.data, config.truth, None, lambda shape: None
    if display.predict:
        data, truth, calibration, build = trained_predictor(config)
    reader = open_reader(data, truth)
    check_image_shape(reader.shape, data.downsample, 0)
    predictor = build(reader.shape)
    folder = Path(display.display_dir)
    make_folder(folder, "display_dir")
    for entry in map(int, display.entries):
        if entry >= len(reader):
            raise ConfigError(f"--entries={entry}: {', '.join(reader.files)} has the entries 0 to {len(reader) - 1}")
        event = reader.read(entry)
        file = reader.locate(entry)[0].path if isinstance(reader, FilesReader) else reader.files[0]
        title = f"{readable(Path(file).name)}, {event_name(entry, event.event_id)}"
        picture = take_picture(title, event, predictor, data.downsample, calibration)
        path = folder / f"event_{entry}.{display.display_format}"
        if display.display_format == "html":
            from cosmictagger_tf.inference.display.event_page import write_page

            write_page(picture, path)
        else:
            save_figure(draw_event(picture), path)
        yield path


def trained_predictor(config: InferenceConfig) -> tuple[DataConfig, TruthConfig, Calibration, Callable]:
    """How a trained network takes its data and its truth, its calibration, and a function that builds its
    ImagePredictor for images of an ImageShape.

    Keras is imported here: displays without a prediction do without it.
    """
    from cosmictagger_tf.inference.model_loading import find_model
    from cosmictagger_tf.networks.predictor import ImagePredictor

    execution.prepare(config.execution)
    trained, xla = find_model(config), execution.compiles(config.execution)
    return (
        trained.data,
        trained.truth,
        trained.calibration,
        lambda shape: ImagePredictor(trained.segmenter(shape, xla), xla),
    )
