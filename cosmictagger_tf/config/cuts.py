"""Cuts on readouts, as text: "pixels>10,rows<5" keeps the readouts for which all of its conditions hold.

Which numbers of a readout a cut may look at stands in QUANTITIES.
"""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosmictagger_tf.errors import ConfigError

QUANTITIES = {
    "pixels": "predicted neutrino pixels of the plane that has fewest",
    "rows": "greatest difference of the planes' mean drift times of these pixels, in full-resolution rows",
    "vertex_rows": "greatest difference of the planes' predicted vertices in drift time, in full-resolution rows",
    "vertex_agreement": "chance that planes which see one vertex disagree as much or more",
    "probability": "of a neutrino in the readout",
}
SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
CONDITION = re.compile(r"(\w+)\s*(>=|<=|>|<)\s*([^\s<>=]+)")
EXAMPLE = "give quoted conditions, such as --cut='pixels>10,rows<5'"


@dataclass(frozen=True)
class Condition:
    """One comparison of a cut.

    Attributes:
        quantity: one of QUANTITIES.
        sign: one of SIGNS.
        value: what the quantity is compared with.
    """

    quantity: str
    sign: str
    value: float

    def holds(self, quantities: Mapping[str, Any]):
        """bool [events]; never where a readout has no such number, which is NaN.

        Args:
            quantities: by name, arrays [events].
        """
        return SIGNS[self.sign](quantities[self.quantity], self.value)

    def __str__(self) -> str:
        # Reads back as the same number, and as it was typed where that was short.
        return f"{self.quantity}{self.sign}{repr(self.value).removesuffix('.0')}"


@dataclass(frozen=True)
class Cut:
    """Conditions that must all hold; at least one."""

    conditions: tuple[Condition, ...]

    def passed(self, quantities: Mapping[str, Any]):
        """bool [events], see Condition.holds."""
        first, *others = (condition.holds(quantities) for condition in self.conditions)
        for holds in others:
            first = first & holds
        return first

    def check_quantities(self, there: Mapping[str, Any] | set[str]):
        """Raises ConfigError where a condition needs a number that the network does not give.

        Args:
            there: names of the quantities that there are.
        """
        for condition in self.conditions:
            if condition.quantity not in there:
                raise ConfigError(
                    f"--cut={self}: this network gives no {condition.quantity} (it gives: {', '.join(sorted(there))})"
                )

    def __str__(self) -> str:
        return ",".join(map(str, self.conditions))


def parse_cuts(text: str) -> tuple[Cut, ...]:
    """The cuts of the flag --cut: conditions joined by commas, cuts by semicolons; none of an empty text.

    Raises:
        ConfigError: it is no such text.
    """
    return tuple(Cut(tuple(map(_condition, part.split(",")))) for part in text.split(";")) if text.strip() else ()


def _condition(text: str) -> Condition:
    match = CONDITION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--cut: '{text.strip()}' is no condition; {EXAMPLE}")
    quantity, sign, number = match.groups()
    if quantity not in QUANTITIES:
        raise ConfigError(f"--cut: there is no quantity '{quantity}' (there are: {', '.join(QUANTITIES)})")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--cut={text.strip()}: '{number}' is no finite number")
    return Condition(quantity, sign, value)
