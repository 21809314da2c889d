"""What a picture shows of a readout as a whole: its vertices where they are, its class with its probability."""

from types import SimpleNamespace

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.detector import COSMIC, NEUTRINO
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.display.event_page import build_figure
from cosmictagger_tf.inference.event_figure import VERTEX_MARKS, draw_event
from cosmictagger_tf.inference.event_picture import PREDICTED_VERTEX, TRUE_VERTEX, take_picture
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX
from tests.training.small import SHAPE, make_event

# On the last plane it lies outside the image.
PLACES = np.array([[(5.5, 7.5), (6.5, 9.5), (np.nan, np.nan)]])


def event_with(truth: Truth | None) -> Event:
    made = make_event(0)
    return Event(0, (1, 2, 3), made.image, made.label, SHAPE, truth)


def network(downsample=1):
    """Gives a vertex in the cell of 4 pixels (1, 2) of each plane, at its middle, and log-odds of 4 to 1 for numu."""
    height, width = SHAPE.height >> downsample, SHAPE.width >> downsample
    cells = np.zeros((1, 3, height // 2, width // 2, 3), np.float32)
    cells[:, :, 1, 2] = 0.9, 0.5, 0.5
    outputs = {
        PIXELS: np.full((1, 3, height, width, 3), 1 / 3, np.float32),
        EVENT: np.log(np.float32([[0.05, 0.8, 0.05, 0.1]])),
        VERTEX: cells,
    }
    return SimpleNamespace(segmenter=SimpleNamespace(prepare=None), predict_on_batch=lambda batch: outputs)


TRUTH = Truth((Neutrino(1.0, 14, 0),), PLACES)


def test_true_and_predicted_vertices_are_in_the_files_pixels():
    picture = take_picture("a", event_with(TRUTH), network(), 1)
    np.testing.assert_allclose(picture.vertices("charge", 0)[TRUE_VERTEX], [[5, 7]])
    np.testing.assert_allclose(picture.vertices("charge", 1)[PREDICTED_VERTEX], [[5.5, 9.5]])
    assert set(picture.vertices("truth", 0)) == {TRUE_VERTEX}
    assert set(picture.vertices("prediction", 0)) == {PREDICTED_VERTEX} == set(picture.vertices("charge", 2))
    assert picture.vertices("neutrino score", 0) == {}


def test_readouts_of_cosmic_rays_only_have_no_true_vertex():
    """As in batches: with fewer than 10 neutrino pixels at the network's resolution, whatever the file tells."""
    event = event_with(TRUTH)
    few = tuple(PlanePixels(p.rows, p.columns, np.minimum(p.values, COSMIC)) for p in event.label)
    few[0].values[:9] = NEUTRINO
    picture = take_picture("a", Event(0, (1, 2, 3), event.image, few, SHAPE, TRUTH), None, 0)
    assert picture.classes == "true: cosmic only" and picture.true_vertices.shape == (0, 3, 2)
    assert picture.vertices("charge", 0) == {}


def test_the_class_is_named_with_its_probability():
    assert (
        take_picture("a", event_with(TRUTH), network(), 1).heading
        == "a\ntrue: numu cc; predicted: numu cc (80.0%), with a neutrino 90.0%"
    )
    calibrated = take_picture("a", event_with(None), network(), 1, Calibration(training_prior=0.9))
    assert calibrated.classes.endswith("with a neutrino 50.0%")
    # As evaluate calls it: where no class is likelier than another beforehand.
    equal = Calibration(training_prior=0.9, training_kinds=(0.06, 0.9, 0.04))
    classes = take_picture("a", event_with(None), network(), 1, equal).classes
    assert classes == "predicted: nc (32.3%), with a neutrino 50.0%"


@pytest.mark.parametrize("head,place", [(EVENT, (0, 2)), (VERTEX, (0, 1, 1, 2, 1))])
def test_what_a_head_gives_must_be_finite(head, place):
    predictor = network()
    predictor.predict_on_batch(None)[head][place] = np.inf
    with pytest.raises(DataError, match=rf"^a: what the {head} head gives is not finite"):
        take_picture("a", event_with(None), predictor, 1, Calibration(training_prior=0.9))


def test_what_no_one_tells_is_not_drawn():
    plain = take_picture("a", event_with(None), None, 0)
    assert plain.heading == "a" and plain.vertices("charge", 0) == {} and plain.vertex is None
    scores = np.full((1, 3, 8, 12, 3), 1 / 3, np.float32)
    bare = SimpleNamespace(segmenter=SimpleNamespace(prepare=None), predict_on_batch=lambda batch: scores)
    drawn = take_picture("a", event_with(TRUTH), bare, 1)
    assert drawn.vertex is None and drawn.classes == "true: numu cc"


@pytest.mark.parametrize("truth", [TRUTH, None])
def test_figure_and_page_show_them(truth):
    picture = take_picture("a", event_with(truth), network(), 1)
    figure = draw_event(picture)
    assert figure.get_suptitle() == picture.heading
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    wanted = {PREDICTED_VERTEX} | ({TRUE_VERTEX} if truth else set())
    assert names & set(VERTEX_MARKS) == wanted
    marks = [line for axis in figure.axes for line in axis.lines if line.get_marker() == "x"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(9.5, 5.5)] * 6
    pytest.importorskip("plotly")
    page = build_figure(picture)
    assert {trace.name for trace in page.data} & set(VERTEX_MARKS) == wanted
    assert [trace.x[0] for trace in page.data if trace.name == PREDICTED_VERTEX] == [9.5] * 6
    assert sum(bool(trace.showlegend) for trace in page.data if trace.name == PREDICTED_VERTEX) == 1
    assert "<br>" in page.layout.title.text


def test_a_vertex_that_the_last_plane_lacks_is_in_the_legend():
    pytest.importorskip("plotly")
    page = build_figure(take_picture("a", event_with(TRUTH), network(), 1))
    shown = [trace for trace in page.data if trace.name == TRUE_VERTEX]
    assert len(shown) == 4 and sum(bool(trace.showlegend) for trace in shown) == 1
