"""Which primaries made the pixels of the readouts that are kept."""

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.inference.evaluate.composition import made_of, primary_counts
from cosmictagger_tf.simulation.cosmics import MUON, PROTON, SHOWER


def plane(*pixels):
    rows, columns, values = (np.array(axis) for axis in zip(*pixels, strict=True))
    return PlanePixels(rows.astype(np.int32), columns.astype(np.int32), values.astype(np.float32))


def test_pixels_called_neutrino_are_looked_up_in_the_product_that_tells():
    primaries = [plane((5, 7, MUON), (6, 7, MUON), (9, 9, PROTON)), plane((1, 1, SHOWER))]
    called = [(np.array([5, 9, 2]), np.array([7, 9, 2])), (np.array([1]), np.array([1]))]
    assert primary_counts(called, primaries, 0).tolist() == [0, 1, 1, 1]


def test_a_block_of_a_coarser_network_counts_with_all_of_its_pixels():
    primaries = [plane((4, 4, MUON), (5, 5, MUON), (6, 4, SHOWER), (7, 7, PROTON))]
    assert primary_counts([(np.array([2]), np.array([2]))], primaries, 1).tolist() == [0, 2, 0, 0]
    assert primary_counts([(np.array([1]), np.array([1]))], primaries, 2).tolist() == [0, 2, 1, 1]
    nothing = np.zeros(0, int)
    assert primary_counts([(nothing, nothing)], primaries, 1).tolist() == [0, 0, 0, 0]


def test_a_kept_readout_is_made_of_what_made_most_of_its_pixels():
    counts = np.array([[0, 9, 2, 0], [0, 0, 1, 5], [0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 4, 0]])
    kept = np.array([True, True, True, True, False])
    assert made_of(counts, kept) == {"none": 1, "muon": 2, "shower": 0, "proton": 1}
    assert made_of(counts, np.zeros(5, bool)) == {"none": 0, "muon": 0, "shower": 0, "proton": 0}
