"""The class of a readout."""

import pytest

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.truth import event_class
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, UNKNOWN_EVENT_CLASS

UNKNOWN = "unknown"
MUON, NEUTRAL, TAU = Neutrino(1.0, 14, 0), Neutrino(1.0, -16, 1), Neutrino(1.0, 16, 0)
CLASSES = {
    "an electron neutrino": ((Neutrino(1.0, 12, 0),), 10, "nue_cc"),
    "its antineutrino": ((Neutrino(1.0, -12, 0),), 5000, "nue_cc"),
    "a muon neutrino": ((MUON,), 10, "numu_cc"),
    "its antineutrino too": ((Neutrino(1.0, -14, 0),), 10, "numu_cc"),
    "a neutral current, whatever the flavour": ((NEUTRAL,), 10, "nc"),
    "too few pixels, whatever the particles": ((MUON,), 9, "cosmic_only"),
    "too few pixels of several": ((MUON, NEUTRAL), 9, "cosmic_only"),
    "no pixel, and no particle product": (None, 0, "cosmic_only"),
    "no pixel and no neutrino": ((), 0, "cosmic_only"),
    "pixels, but no particle product": (None, 10, UNKNOWN),
    "pixels of no neutrino": ((), 10, UNKNOWN),
    "a charged tau neutrino": ((TAU,), 10, UNKNOWN),
    "several neutrinos": ((MUON, MUON), 10, UNKNOWN),
    "a current that is not told": ((Neutrino(1.0, 14, -1),), 10, UNKNOWN),
    "no labels": ((MUON,), None, UNKNOWN),
    "no labels and no neutrino": ((), None, UNKNOWN),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_class_of_a_readout(kind):
    neutrinos, pixels, name = CLASSES[kind]
    number = UNKNOWN_EVENT_CLASS if name == UNKNOWN else EVENT_CLASS_NAMES.index(name)
    assert event_class(neutrinos, pixels) == number
