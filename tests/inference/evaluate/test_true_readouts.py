"""What readouts are in truth, and how they are put in groups."""

import numpy as np
import pytest

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.inference.evaluate.true_readouts import ENERGY_EDGES, TrueReadouts, between

PROTON, PION = 2212, 211
NUE = Neutrino(1.1, 12, 0, outgoing=(11, PROTON))
ANTI_NUMU = Neutrino(0.6, -14, 0, outgoing=(-13, PROTON, PION))
NC_PION = Neutrino(2.5, 14, 1, outgoing=(14, PROTON, -PION))
NC_NUCLEONS = Neutrino(0.4, 12, 1, outgoing=(12, PROTON, 1000180390))
NC_UNTOLD = Neutrino(0.4, 12, 1)
NUTAU = Neutrino(5.0, 16, 0, outgoing=(15,))


def chosen(groups):
    return {name: np.flatnonzero(events).tolist() for name, events in groups.items()}


@pytest.fixture
def truth() -> TrueReadouts:
    """Of each kind one, then what is unknown: a nu_tau, two neutrinos, no particles, a file that does not tell."""
    neutrinos = [(NUE,), (ANTI_NUMU,), (NC_PION,), (NC_NUCLEONS,), (), (NUE,), (NUTAU,), (NUE, NUE), (), None, None]
    return TrueReadouts.of(neutrinos, [500, 400, 300, 200, 0, 9, 500, 500, 500, 500, 0])


def test_readouts_are_told_apart_by_class_and_final_state(truth):
    assert chosen(truth.kinds()) == {
        "with a neutrino": [0, 1, 2, 3],
        "nue CC": [0],
        "numu CC": [1],
        "NC with a pion": [2],
        "NC of nucleons alone": [3],
    }
    # Too few pixels are cosmic rays only, whatever the particles; and where the file does not tell of particles.
    assert np.flatnonzero(truth.cosmic_only).tolist() == [4, 5, 10]
    assert truth.absent() == []
    assert truth.names().tolist() == [
        "nue CC",
        "numu CC",
        "NC with a pion",
        "NC of nucleons alone",
        "cosmic rays only",
        "cosmic rays only",
        *[""] * 4,
        "cosmic rays only",
    ]


def test_final_states_and_energies(truth):
    groups = truth.groups()
    assert chosen(groups["final state"]) == {"nue CC nucleons alone": [0], "numu CC with a pion": [1]}
    energies = chosen(groups["neutrino energy (GeV)"])
    assert energies == {"0.25 to 0.5": [3], "0.5 to 0.75": [1], "1 to 1.5": [0], "2 to 3": [2]}
    assert list(groups) == ["kind", "final state", "neutrino energy (GeV)"]


def test_kinds_that_the_truth_lacks_are_named():
    truth = TrueReadouts.of([(NC_PION,)], [50])
    assert truth.absent() == ["nue CC", "numu CC", "NC of nucleons alone", "cosmic rays only"]
    assert not truth.groups()["final state"]
    assert TrueReadouts.of([()], [0]).absent()[0] == "with a neutrino"


def test_a_readout_of_unknown_class_may_be_of_any_kind_with_a_neutrino(truth):
    assert np.flatnonzero(truth.unknown).tolist() == [6, 7, 8, 9] and np.flatnonzero(truth.untold).tolist() == [9]
    assert TrueReadouts.of([None], [50]).absent() == ["cosmic rays only"]
    assert TrueReadouts.of([(NUE, NUE), (NUE,), ()], [50, 50, 0]).absent() == []


def test_a_file_that_does_not_tell_what_left_the_nucleus_has_a_kind_of_its_own():
    truth = TrueReadouts.of([(NC_UNTOLD,), (NC_PION,)], [50, 50])
    assert chosen(truth.kinds())["NC of unknown final state"] == [0]
    assert chosen(truth.kinds())["NC of nucleons alone"] == []
    assert truth.names()[0] == "NC of unknown final state"


def test_bins_hold_every_number_once():
    values = np.array([0.0, 0.1, 0.25, 4.99, 5.0, 80.0, np.nan])
    bins = dict(between(values, ENERGY_EDGES))
    assert sum(events.astype(int) for events in bins.values()).tolist() == [1] * 6 + [0]
    assert bins["over 5"].tolist() == [False] * 4 + [True, True, False]
