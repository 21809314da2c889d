"""What the report's plots show."""

import numpy as np
import pytest

from cosmictagger_tf.figures import new_figure
from cosmictagger_tf.inference.evaluate import report_plots
from cosmictagger_tf.inference.evaluate.reliability import BINS, reliability, reliability_sums


@pytest.fixture(scope="module")
def sets():
    """Events whose probabilities are right, cosmic rays alone, and nothing."""
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=300)
    truth = rng.uniform(size=300) < probabilities
    places = np.arange(300)
    return {
        "events": reliability(reliability_sums(probabilities, truth, places, 300)),
        "pixels": reliability(reliability_sums(probabilities, np.zeros(300, bool), places // 10, 30), drawings=0),
        "none": reliability(np.zeros((0, BINS, 3))),
    }


def test_reliability_is_drawn_with_its_intervals_and_numbers(sets):
    figure, axes = new_figure(1, 3, (12, 4))
    report_plots.reliability(axes[0], sets)
    events, pixels, nothing = axes[0]
    for axis, result in ((events, sets["events"]), (pixels, sets["pixels"])):
        ((points, _, (bars,)),) = axis.containers
        np.testing.assert_allclose(points.get_xydata(), [(b.predicted, b.true) for b in result.bins])
        ends = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, [(b.low, b.high) for b in result.bins], atol=1e-12)
    numbers = [patch.get_height() for axis in figure.axes[3:] for patch in axis.patches]
    assert numbers == [b.number for name in ("events", "pixels") for b in sets[name].bins]
    assert events.get_title().startswith("events\ncalibration error 0.0") and " to " in events.get_title()
    assert pixels.get_title().startswith("pixels: none is true\ncalibration error 0.")
    assert " to " not in pixels.get_title()
    assert nothing.get_title() == "none: none is there" and not nothing.containers


def test_reliability_is_svg_without_a_number_that_is_none(sets):
    text = report_plots.svg(report_plots.reliability, 12, 4, 3, sets=sets)
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>") and "nan" not in text
