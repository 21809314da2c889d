"""The neutrino interactions that the rows of a particle product describe."""

import numpy as np
import pytest

from cosmictagger_tf.data.neutrino import Neutrino, neutrinos_of
from tests.data.truth_files import particle_rows

MUON_LIKE = [(14, 0, 1.5), (13, -1, 0.9), (2212, -1, 1.0)]
NEUTRAL = [(-12, 1, 0.8), (-12, -1, 0.5), (2112, -1, 1.0), (-211, -1, 0.2)]


def test_what_interacted_how_where_and_what_left():
    rows = particle_rows(*MUON_LIKE, vertex=(1.0, -2.0, 300.0, 1600.0))
    rows["interaction_type"][0] = 1001
    (neutrino,) = neutrinos_of(rows)
    assert neutrino == Neutrino(1.5, 14, 0, 1001, (1.0, -2.0, 300.0, 1.6), (13, 2212))
    assert (neutrino.flavour, neutrino.final_state) == ("nu_mu CC", "nucleons alone")


def test_a_neutrino_that_leaves_again_is_no_interaction_of_its_own():
    first, second = neutrinos_of(particle_rows(*NEUTRAL, *MUON_LIKE))
    assert (first.pdg, first.flavour, first.outgoing) == (-12, "NC", (-12, 2112, -211))
    assert first.final_state == "with a pion"
    assert (second.pdg, second.outgoing) == (14, (13, 2212))


def test_where_no_current_is_told_the_first_neutrino_is_it():
    (neutrino,) = neutrinos_of(particle_rows((13, -1, 1.0), (16, -1, 2.0), (12, -1, 3.0)))
    assert (neutrino.pdg, neutrino.current, neutrino.energy, neutrino.interaction) == (16, -1, 2.0, -1)
    assert neutrino.flavour == "nu_tau of unknown current"


def test_secondaries_did_not_leave_the_nucleus():
    rows = particle_rows(*MUON_LIKE, (11, -1, 0.03))
    rows["process"][-1] = b"Decay"
    assert neutrinos_of(rows)[0].outgoing == (13, 2212)


def test_a_file_may_have_the_columns_that_are_needed_alone():
    rows = particle_rows(*MUON_LIKE)[["pdg", "energy_init", "current_type"]]
    assert neutrinos_of(rows) == (Neutrino(1.5, 14, 0, outgoing=(13, 2212)),)


def test_no_rows_are_no_interaction():
    assert neutrinos_of(particle_rows()) == neutrinos_of(particle_rows((13, -1, 1.0))) == ()


@pytest.mark.parametrize("change", [{"energy_init": np.nan}, {"vtx": (np.inf, 0, 0, 0)}])
def test_numbers_that_are_none_are_an_error(change):
    rows = particle_rows(*MUON_LIKE)
    for name, value in change.items():
        rows[name][0] = value
    with pytest.raises(ValueError, match="a neutrino of"):
        neutrinos_of(rows)
