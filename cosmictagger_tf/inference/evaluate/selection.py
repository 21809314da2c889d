"""What a cut keeps: readouts with a neutrino, by what they are, and those with cosmic rays only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.config.cuts import Condition, Cut
from cosmictagger_tf.inference.evaluate.rates import Purity, Rate, purity_at
from cosmictagger_tf.inference.evaluate.true_readouts import ALL, TrueReadouts

# The more of it, the more a readout looks like one with a neutrino: a threshold on it trades efficiency for rejection.
SCANNED = ("probability", "pixels")
# The shares of readouts with cosmic rays only for which thresholds are reported, and those of the curve.
KEPT_SHARES = (0.01, 0.02, 0.04)
CURVE_SHARES = tuple(np.geomspace(1e-3, 1.0, 61).tolist())
# Beyond the rounding of a share times a number of readouts.
TINY = 1e-9


@dataclass(frozen=True)
class Selection:
    """What a cut keeps.

    Attributes:
        cut: which one.
        passed: bool [events].
        kept: of the readouts with cosmic rays only; None where there is none.
        efficiencies: title -> name -> share that is kept; see TrueReadouts.groups. None where there is none.
        purity: at the prior; None without a prior, or where it is not known.
    """

    cut: Cut
    passed: np.ndarray
    kept: Rate | None
    efficiencies: dict[str, dict[str, Rate | None]]
    purity: Purity | None

    @property
    def efficiency(self) -> Rate | None:
        """Of all readouts with a neutrino."""
        return self.efficiencies["kind"][ALL]


def select(cut: Cut, quantities: Mapping[str, np.ndarray], truth: TrueReadouts, prior: float = 0.0) -> Selection:
    """What a cut keeps.

    Args:
        cut: its quantities are all there.
        quantities: by name, [events].
        truth: of the same events; those of unknown class count nowhere.
        prior: share of readouts with a neutrino for which the purity is wanted; 0 = it is not.
    """
    passed = cut.passed(quantities)
    rates = {
        title: {name: Rate.of(passed[chosen]) for name, chosen in group.items()}
        for title, group in truth.groups().items()
    }
    kept = Rate.of(passed[truth.cosmic_only])
    purity = purity_at(prior, rates["kind"][ALL], kept) if prior else None
    return Selection(cut, passed, kept, rates, purity)


def threshold_for(values: np.ndarray, share: float) -> float:
    """The least of these thresholds t for which `values > t` keeps no more than a share of the values: exact with ties.

    Values that are equal are kept or left out together, so that fewer may be kept than the share allows.

    Args:
        values: [events], at least one; NaN is never kept.
        share: from 0 to 1.

    Returns:
        One of the values, or -inf where all may be kept.
    """
    falling = np.sort(np.where(np.isnan(values), -np.inf, values))[::-1]
    most = int(np.floor(share * len(values) + TINY))
    return float(falling[most]) if most < len(values) else float("-inf")


def loosest_cuts(
    quantity: str,
    quantities: Mapping[str, np.ndarray],
    truth: TrueReadouts,
    shares: Sequence[float],
    prior: float = 0.0,
) -> Iterator[tuple[float, Selection]]:
    """For each share, the loosest cut on a quantity that keeps at most this share of cosmic-only readouts.

    Yields the share and what the cut keeps; nothing where there is no readout with cosmic rays only. Arguments as those
    of `select`.
    """
    values = quantities[quantity][truth.cosmic_only]
    for share in shares if len(values) else ():
        cut = Cut((Condition(quantity, ">", threshold_for(values, share)),))
        yield share, select(cut, quantities, truth, prior)
