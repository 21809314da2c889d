"""Evaluates a run's network over a file: the metrics and all that is reported beside them."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cosmictagger_tf import execution, geometry
from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import DataConfig, EvaluateConfig, NetworkConfig
from cosmictagger_tf.data.cosmic_primaries import open_primaries
from cosmictagger_tf.data.dataset import FilesReader, Reader, open_labelled
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.pipeline import evaluation_dataset
from cosmictagger_tf.data.true_neutrinos import Interactions, read_interactions
from cosmictagger_tf.data.truth_products import check_producers, log_vertex_sources
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, DataError
from cosmictagger_tf.inference.evaluate.breakdown import Bin, breakdowns
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.inference.evaluate.details import DetailedEvaluator, EventDetails, details_of, given_quantities
from cosmictagger_tf.inference.evaluate.event_cut import EventCut, apply_cut, event_cut
from cosmictagger_tf.inference.evaluate.head_details import HeadReader
from cosmictagger_tf.inference.evaluate.intervals import bootstrap_intervals
from cosmictagger_tf.inference.evaluate.reliabilities import reliabilities
from cosmictagger_tf.inference.evaluate.reliability import Reliability
from cosmictagger_tf.inference.evaluate.selection_results import SelectionResults, selections
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts
from cosmictagger_tf.inference.evaluate.vertex_results import (
    PointDistances,
    VertexResults,
    point_distances,
    vertex_results,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import TrainedModel, agreed_model, check_vertex_producers
from cosmictagger_tf.progress import EventProgress
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.jobs import run
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import EventTable, join, without_unscored


@dataclass(frozen=True)
class Evaluation:
    """The results; every array is in the order of the entries.

    Attributes:
        trained: which network.
        reader: the data set, open.
        segmenter: the network, weights loaded.
        table: confusion matrices and losses.
        intervals: 95 % intervals of the values of table.summary(), by name; empty without bootstrap.
        details: predicted neutrino pixels of each event.
        histogram: of the neutrino scores.
        event_ids: (run, subrun, event) of each event.
        neutrinos: of each event the only one that its file has; None where it has none or several, or does not tell.
        cut: which events pass the event cut.
        bins: the metrics by what the events are.
        selection: what cuts keep of readouts with a neutrino, and of those without.
        reliability: whether probabilities hold, of events and pixels.
        points: how far the vertices in the detector are off, see vertex_results.point_distances.
        vertices: how far all vertices are off; None without a vertex head.
    """

    trained: TrainedModel
    reader: Reader
    segmenter: object
    table: EventTable
    intervals: dict[str, tuple[float, float]]
    details: EventDetails
    histogram: ScoreHistogram
    event_ids: list[tuple[int, int, int]]
    neutrinos: list[Neutrino | None]
    cut: EventCut
    bins: dict[str, list[Bin]]
    selection: SelectionResults
    reliability: dict[str, Reliability]
    points: PointDistances | None
    vertices: VertexResults | None


def evaluate_run(evaluate: EvaluateConfig, config: InferenceConfig) -> Evaluation | None:
    """Runs the network over every event; where a launcher started several ranks, they share the events.

    Returns:
        The evaluation; None on all ranks but 0.

    Raises:
        UserError: no such run, weights that do not fit, a file without labels, a bad entry.
    """
    prepare = partial(execution.prepare, config.execution)
    return run(config.distributed, prepare, lambda ranks: evaluate_as(ranks, evaluate, config))


def evaluate_as(ranks: Ranks, evaluate: EvaluateConfig, config: InferenceConfig) -> Evaluation | None:
    """`evaluate_run` as one of the ranks."""
    most = config.skip.skip_bad_events
    with ranks.agreed():
        compared = (config.output, config.weights, config.data, config.network, config.execution, config.skip)
        check_options(ranks, evaluate, *compared, config.truth, config.readouts)
        ranks.part("minibatch_size", config.data.minibatch_size)
        trained = agreed_model(ranks, config)
        check_heads(trained.network, evaluate, config)
        reader = open_labelled(trained.data, trained.truth if trained.network.vertex_head else None)
        check_producers(reader, trained.truth, config.explicit)
        if ranks.rank == 0:
            log_vertex_sources(reader)
        check_geometry(evaluate, reader.shape)
        check_data(ranks, "file", reader)
        log_devices(ranks)
        interactions = primaries = None
        if isinstance(reader, FilesReader):
            primaries = open_primaries(reader, trained.data, evaluate.producer_cosmic_primary)
            if ranks.rank == 0:
                # The event may be sound, or one of the bad events that are skipped anyway.
                interactions = read_interactions(reader, trained.truth.producer_particle, skip_broken=most > 0)
        xla = execution.compiles(config.execution)
        evaluator = DetailedEvaluator(trained.segmenter(reader.shape, xla, ranks), trained.scheme, xla)
    histogram = ScoreHistogram(reader.shape.planes)
    bad = BadEvents(most, ranks)
    heads = HeadReader(reader.shape, trained.data.downsample, trained.calibration, reader.pixel_size)
    table, details = evaluate_events(evaluator, reader, trained.data, heads, histogram, ranks, bad, primaries)
    if primaries is not None:
        primaries.close()
    with ranks.agreed():
        reader.check_unchanged()
    if ranks.rank:
        return None
    drawings = evaluate.bootstrap, evaluate.bootstrap_seed
    those: list[Interactions | None] = [None] * len(table.entries)
    if interactions is not None:
        those = [interactions[int(entry)] for entry in table.entries]
    truth = TrueReadouts.of(those, details.true_pixels.tolist())
    cuts = (event_cut(evaluate.event_cut_pixels, evaluate.event_cut_rows), *evaluate.cuts)
    cut = apply_cut(details, evaluate.event_cut_pixels, evaluate.event_cut_rows)
    points, kept = point_distances(details, those), kept_readouts(details, trained.calibration)
    return Evaluation(
        trained=trained,
        reader=reader,
        segmenter=evaluator.segmenter,
        table=table,
        intervals=bootstrap_intervals(table, *drawings),
        details=details,
        histogram=histogram,
        event_ids=[reader.event_id(int(entry)) for entry in table.entries],
        neutrinos=[event[0] if event and len(event) == 1 else None for event in those],
        cut=cut,
        bins=breakdowns(table, truth, cut.passed),
        selection=selections(details, truth, cuts, config.readouts.prior),
        reliability=reliabilities(table, details, trained.calibration, *drawings),
        points=points,
        vertices=vertex_results(details, points, kept, *drawings),
    )


def check_heads(network: NetworkConfig, evaluate: EvaluateConfig, config: InferenceConfig):
    """Raises ConfigError where an option is for a head that the network has not."""
    for wanted in evaluate.cuts:
        wanted.check_quantities(given_quantities(network))
    check_vertex_producers(network, config.truth)


def check_geometry(evaluate: EvaluateConfig, shape: ImageShape):
    """Raises ConfigError where a cut needs to know where images of this shape lie in the detector, and no one does."""
    reason = geometry.unknown(shape)
    for wanted in evaluate.cuts:
        if reason and "vertex_agreement" in {condition.quantity for condition in wanted.conditions}:
            raise ConfigError(f"--cut={wanted}: planes agree on points in the detector: {reason}")


def kept_readouts(details: EventDetails, calibration: Calibration) -> np.ndarray | None:
    """Which readouts the working point selection keeps, bool [events]; None where it selects none."""
    if details.class_scores is None or calibration.selection.event_probability is None:
        return None
    return calibration.selection.keeps(neutrino_probability(details.class_scores))


def evaluate_events(
    evaluator: DetailedEvaluator,
    reader: Reader,
    data: DataConfig,
    heads: HeadReader,
    histogram: ScoreHistogram,
    ranks: Ranks,
    bad: BadEvents,
    primaries: Reader | None = None,
) -> tuple[EventTable, EventDetails]:
    """One pass over the data set, shared by the ranks; fills the histogram on the way. The results are on all ranks.

    `primaries`: see open_primaries.

    Raises:
        DataError: a bad event, more than may be skipped, or nothing else.
    """
    stream = evaluation_dataset(
        reader, data, ranks.rank, ranks.size, prepare=evaluator.segmenter.prepare, skip=bad.most
    )
    progress = EventProgress(len(reader), "evaluated")
    tables, details, unscored = [], [], []
    for batch in stream.generate():
        results = evaluator.predict_on_batch(batch)
        batch, errors = without_unscored(results, batch, reader)
        unscored += errors
        tables.append(evaluator.table_of(results, batch))
        bad.watch(stream.bad_events(len(tables)) + unscored)
        details.append(details_of(batch, results, heads, histogram, primaries))
        # Rank 0 shows it for all: they advance at the same pace.
        if ranks.rank == 0:
            progress.advance(len(tables[-1].entries) * ranks.size)
    bad.count(stream.bad_events() + unscored)
    if len(bad.places) == len(reader):
        raise DataError(reader.files[0], "has no event that can be evaluated")
    histogram.counts = ranks.sum([histogram.counts])[0]
    shares = ranks.gather((tables, details))
    tables, details = ([part for share in shares for part in share[i]] for i in (0, 1))
    order = np.argsort(np.concatenate([table.entries for table in tables]), kind="stable")
    together = EventDetails.join(details).reordered(order)
    return replace(join(tables), class_scores=together.class_scores), together
