"""Calibrates a trained network on validation data: temperatures, then working points."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cosmictagger_tf import execution, geometry
from cosmictagger_tf.calibration.probabilities import CalibrationError, check_training_prior
from cosmictagger_tf.calibration.record import record_place, write_calibration
from cosmictagger_tf.calibration.temperature import TemperatureFit, fit_event_temperature, fit_pixel_temperature
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import CalibrateConfig, NetworkConfig, TruthConfig, with_changes
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.data.dataset import Reader, open_labelled
from cosmictagger_tf.data.pipeline import evaluation_dataset
from cosmictagger_tf.data.truth_products import check_producers
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, DataError
from cosmictagger_tf.files import check_output, make_folder, sha256
from cosmictagger_tf.inference.calibrate.choice import PixelsChoice, best_pixels, best_selection
from cosmictagger_tf.inference.calibrate.samples import OutputsEvaluator, Samples, samples_of, without_not_finite
from cosmictagger_tf.inference.calibrate.training_shares import TrainingShares, recorded_shares
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import TrainedModel, agreed_model, check_vertex_producers
from cosmictagger_tf.progress import EventProgress, activity
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.jobs import run
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.vertex_fit import VertexErrors, fit_errors

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration and what it rests on.

    Attributes:
        calibration: of the network.
        weights: the file of weights that it is of.
        files: the validation data.
        samples: what was kept of them.
        event_fit, pixel_fit: of the temperatures; the first is None without an event head.
        pixels: of the choice of the working point pixels.
    """

    calibration: Calibration
    weights: Path
    files: tuple[str, ...]
    samples: Samples
    event_fit: TemperatureFit | None
    pixel_fit: TemperatureFit
    pixels: PixelsChoice

    def write(self, path: Path, checksum: str):
        """Writes the record, complete or not at all; the checksum is that of the weights that were used."""
        measured = {
            "neutrino_iou": self.pixels.neutrino_iou,
            "neutrino_iou_without_shifts": self.pixels.unshifted_neutrino_iou,
            "cosmic_iou": self.pixels.cosmic_iou,
            "cosmic_iou_without_shifts": self.pixels.unshifted_cosmic_iou,
            "event_fit": self.event_fit and self.event_fit._asdict(),
            "pixel_fit": self.pixel_fit._asdict(),
        }
        numbers = {"readouts": len(self.samples.entries), "cosmic_only": int(self.samples.cosmic_only.sum())}
        data = {"files": [readable(file) for file in self.files], **numbers, **measured}
        write_calibration(path, self.calibration, checksum, {"validation": data, **execution.describe()})


def calibrate_run(calibrate: CalibrateConfig, config: InferenceConfig) -> tuple[CalibrationResult, Path] | None:
    """Runs the network over every event, fits, chooses and writes; where a launcher started several ranks, they share.

    Returns:
        The result, and the record; None on all ranks but 0.

    Raises:
        UserError: no such run, a record that is there already, data that lack what is needed.
    """
    prepare = partial(execution.prepare, config.execution)
    return run(config.distributed, prepare, lambda ranks: _calibrate_as(ranks, calibrate, config))


def _calibrate_as(ranks: Ranks, calibrate: CalibrateConfig, config: InferenceConfig):
    most = config.skip.skip_bad_events
    with ranks.agreed():
        compared = (config.output, config.weights, config.data, config.network, config.execution, config.skip)
        check_options(ranks, calibrate, *compared, config.truth)
        ranks.part("minibatch_size", config.data.minibatch_size)
        trained = agreed_model(ranks, config, calibrated=False)
        check_vertex_producers(trained.network, config.truth)
        place = place_of(calibrate, config, trained)
        shares = training_shares(calibrate, config, trained)
        reader = open_labelled(trained.data, truth_for(trained.network, trained.truth))
        check_producers(reader, trained.truth, config.explicit)
        check_data(ranks, "file", reader)
        log_devices(ranks)
        xla = execution.compiles(config.execution)
        checksum = trained.checksum or sha256(trained.weights)
        evaluator = OutputsEvaluator(trained.bare_segmenter(reader.shape, xla, ranks), xla)
    samples = collect(evaluator, reader, trained, ranks, BadEvents(most, ranks))
    with ranks.agreed():
        reader.check_unchanged()
    if ranks.rank:
        return None
    with activity("fitting temperatures and choosing working points"):
        result = fitted(samples, calibrate, shares, trained.weights, reader)
    if calibrate.output:
        make_folder(place.parent, "output")
    check_output(place, "output", calibrate.overwrite)
    result.write(place, checksum)
    return result, place


def place_of(calibrate: CalibrateConfig, config: InferenceConfig, trained: TrainedModel) -> Path:
    """Where the record goes; raises ConfigError where it must not be written."""
    if not calibrate.output and config.weights.weights != "run":
        raise ConfigError(
            f"--output: name a file; --weights={config.weights.weights} come with the package and have their own record"
        )
    place = Path(calibrate.output) if calibrate.output else record_place(trained.weights)
    check_output(place, "output", calibrate.overwrite)
    return place


def truth_for(network: NetworkConfig, truth: TruthConfig) -> TruthConfig | None:
    """The products that calibrating a network needs, so that no other one that is broken stops it: None without heads,
    because the labels tell where there are cosmic rays only; without a vertex head none of vertices."""
    if network.vertex_head:
        return truth
    return with_changes(truth, producer_vertex="", producer_vertex_cluster="") if network.event_head else None


def training_shares(
    calibrate: CalibrateConfig, config: InferenceConfig, trained: TrainedModel
) -> TrainingShares | None:
    """How the training's readouts were shared among the classes; None for a network without an event head.

    Raises:
        ConfigError: nothing tells, or options are given that need an event head.
    """
    if not trained.network.event_head:
        unused = [f"--{name}" for name in ("training_prior", "kept") if name in config.explicit]
        if unused:
            raise ConfigError(f"{', '.join(unused)}: {trained.weights} is of a network without --event_head")
        return None
    of_run = config.weights.of_run and trained.step is not None
    shares = recorded_shares(RunFolder(config.output).history, trained.step or 0) if of_run else None
    if calibrate.training_prior:
        shares = TrainingShares(calibrate.training_prior, shares.kinds if shares else None)
    if shares is None:
        raise ConfigError(
            "--training_prior: no history.csv tells of the training's readouts: give the share of those of known class "
            "that had a neutrino"
        )
    check_training_prior(shares.prior)
    return shares


def collect(
    evaluator: OutputsEvaluator, reader: Reader, trained: TrainedModel, ranks: Ranks, bad: BadEvents
) -> Samples:
    """One pass over the data set, shared by the ranks; the samples are on all ranks.

    Raises:
        DataError: a bad event, more than may be skipped, or nothing else.
    """
    prepare = evaluator.segmenter.prepare
    stream = evaluation_dataset(reader, trained.data, ranks.rank, ranks.size, prepare=prepare, skip=bad.most)
    progress, parts, unused = EventProgress(len(reader), "read out"), [], []
    for number, batch in enumerate(stream.generate(), start=1):
        outputs = evaluator.predict_on_batch(batch)
        batch, errors = without_not_finite(batch, outputs, reader)
        unused += errors
        joins = trained.network.event_joins_pixels
        parts.append(samples_of(batch, outputs, reader, trained.data.downsample, joins))
        bad.watch(stream.bad_events(number) + unused)
        if ranks.rank == 0:
            progress.advance(len(parts[-1].entries) * ranks.size)
    bad.count(stream.bad_events() + unused)
    gathered = [part for share in ranks.gather(parts) for part in share if len(part.entries)]
    if not gathered:
        raise DataError(reader.files[0], "has no event that can be used")
    return Samples.join(gathered)


def fitted(
    samples: Samples, calibrate: CalibrateConfig, shares: TrainingShares | None, weights: Path, reader: Reader
) -> CalibrationResult:
    """The calibration of what was kept of the validation data.

    Args:
        samples: what was kept.
        calibrate: the options.
        shares: of the training; None without an event head.
        weights: the file that they are of.
        reader: of the data.

    Raises:
        CalibrationError: the data lack what is needed.
    """
    cosmic = int(samples.cosmic_only.sum())
    if cosmic in (0, len(samples.entries)):
        raise CalibrationError(
            f"{reader.files[0]}: no readout {'with' if cosmic else 'without'} a neutrino: working points need both"
        )
    calibration, event_fit = Calibration(), None
    if samples.event_logits is not None and shares is not None:
        calibration = Calibration(training_prior=shares.prior, training_kinds=shares.kinds)
        event_fit = fit_event_temperature(samples.event_logits, samples.classes, shares.prior, shares.kinds)
        calibration = replace(calibration, event_temperature=event_fit.temperature)
    sample = samples.sample
    pixel_fit = fit_pixel_temperature(sample.logits, sample.labels.astype(np.int64), sample.weights)
    calibration = replace(calibration, pixel_temperature=pixel_fit.temperature)
    pixels = best_pixels(samples, calibration)
    calibration = replace(calibration, pixels=pixels.point, vertex_errors=vertex_errors(samples, reader.shape))
    selection = best_selection(samples, calibration, calibrate.kept, calibrate.kept_by_pixels)
    calibration = replace(calibration, selection=selection)
    return CalibrationResult(calibration, weights, reader.files, samples, event_fit, pixel_fit, pixels)


def vertex_errors(samples: Samples, shape: ImageShape) -> VertexErrors | None:
    """How precise the vertex head is; None without one, in images whose geometry is not known, or of too few."""
    if samples.vertices is None or geometry.unknown(shape):
        return None
    try:
        return fit_errors(samples.vertices[:, 0], samples.vertices[:, 1])
    except ValueError as error:
        log.info(f"no errors of vertices: {error}")
        return None
