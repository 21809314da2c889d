"""What cuts keep, and thresholds for a share of the readouts with cosmic rays only."""

import numpy as np
import pytest

from cosmictagger_tf.config.cuts import parse_cuts
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.inference.evaluate.rates import Rate
from cosmictagger_tf.inference.evaluate.selection import CURVE_SHARES, loosest_cuts, select, threshold_for
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts

NUE, NC = Neutrino(1.1, 12, 0, outgoing=(11, 2212)), Neutrino(2.5, 14, 1, outgoing=(14, 211))


def readouts(neutrinos: int, cosmics: int) -> TrueReadouts:
    """Readouts with a nue CC, then with an NC, as many, then with cosmic rays only."""
    interactions = [(NUE,)] * neutrinos + [(NC,)] * neutrinos + [()] * cosmics
    return TrueReadouts.of(interactions, [100] * 2 * neutrinos + [0] * cosmics)


def test_a_cut_keeps_shares_of_each_kind():
    truth = readouts(4, 5)
    pixels = np.array([20, 20, 20, 5, 20, 5, 5, 5, 20, 5, 5, 5, 5])
    (cut,) = parse_cuts("pixels>10")
    selection = select(cut, {"pixels": pixels}, truth, prior=0.5)
    assert selection.passed.sum() == 5
    assert selection.kept == Rate.of(np.arange(5) < 1) and selection.kept.rate == 0.2
    kinds = selection.efficiencies["kind"]
    assert kinds["nue CC"].rate == 0.75 and kinds["NC with a pion"].rate == 0.25
    assert kinds["numu CC"] is None and kinds["NC of nucleons alone"] is None
    assert selection.efficiency.rate == 0.5 and selection.efficiency.events == 8
    assert selection.efficiencies["neutrino energy (GeV)"]["1 to 1.5"].rate == 0.75
    assert selection.efficiencies["final state"]["nue CC nucleons alone"].events == 4
    assert selection.purity.purity == pytest.approx(0.25 / 0.35)
    assert select(cut, {"pixels": pixels}, truth).purity is None


def test_readouts_of_unknown_class_count_nowhere():
    truth = TrueReadouts.of([(NUE, NUE), ()], [100, 100])
    selection = select(parse_cuts("pixels>10")[0], {"pixels": np.array([20, 20])}, truth, prior=0.5)
    assert selection.kept is None and selection.efficiency is None and selection.purity is None


@pytest.mark.parametrize(
    ("share", "threshold", "kept"),
    [
        (0.0, 9.0, 0),
        (0.1, 8.0, 1),
        # The three 8s go together: with the 9 they are four.
        (0.2, 8.0, 1),
        (0.3, 8.0, 1),
        (0.4, 4.0, 4),
        (0.9, 0.0, 9),
        (1.0, -np.inf, 10),
    ],
)
def test_a_threshold_is_exact_with_ties(share, threshold, kept):
    values = np.array([9.0, 8, 8, 8, 4, 3, 2, 1.5, 1, 0])
    rng = np.random.default_rng(0)
    assert threshold_for(rng.permutation(values), share) == threshold
    assert (values > threshold).sum() == kept


@pytest.mark.parametrize("seed", range(20))
def test_no_looser_threshold_keeps_as_few(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, rng.integers(1, 60)).astype(float)
    values[rng.random(len(values)) < 0.1] = np.nan
    for share in (0.0, 0.01, 0.29, 0.5, 0.7, 0.99, 1.0):
        threshold = threshold_for(values, share)
        most = share * len(values) + 1e-9
        assert (values > threshold).sum() <= most
        looser = [np.nan_to_num(v, nan=-np.inf) for v in [*values, -np.inf] if not v >= threshold]
        assert all((values > v).sum() > most for v in looser if (values > v).sum() > (values > threshold).sum())
        assert threshold == -np.inf or threshold in values


def test_a_share_that_is_no_binary_fraction_keeps_all_that_it_allows():
    values = np.arange(100.0)
    assert 0.29 * 100 < 29
    assert (values > threshold_for(values, 0.29)).sum() == 29


def test_working_points_keep_no_more_than_their_share_and_read_back_as_cuts():
    rng, truth = np.random.default_rng(1), readouts(300, 1000)
    values = 1 / (1 + np.exp(-rng.normal(np.where(truth.cosmic_only, -1.0, 2.0), 1.0)))
    quantities = {"probability": values}
    points = dict(loosest_cuts("probability", quantities, truth, (0.01, 0.04), prior=0.1))
    assert [points[share].kept.rate for share in (0.01, 0.04)] == [0.01, 0.04]
    assert points[0.01].efficiency.rate < points[0.04].efficiency.rate
    assert points[0.01].purity.purity > points[0.04].purity.purity
    for selection in points.values():
        (again,) = parse_cuts(str(selection.cut))
        np.testing.assert_array_equal(again.passed(quantities), selection.passed)


def test_the_curve_rises_to_everything():
    rng, truth = np.random.default_rng(1), readouts(50, 40)
    quantities = {"pixels": rng.poisson(np.where(truth.cosmic_only, 5, 30))}
    curve = [selection for _, selection in loosest_cuts("pixels", quantities, truth, CURVE_SHARES)]
    kept, efficient = ([getattr(s, name).rate for s in curve] for name in ("kept", "efficiency"))
    assert kept == sorted(kept) and efficient == sorted(efficient)
    assert kept[0] == 0 and kept[-1] == efficient[-1] == 1


def test_without_readouts_with_cosmic_rays_only_there_is_no_working_point():
    assert list(loosest_cuts("pixels", {"pixels": np.ones(4)}, readouts(2, 0), CURVE_SHARES)) == []
