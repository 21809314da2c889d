"""What a readout's particle is, and which products there are with which heads."""

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, NetworkConfig, PredictConfig
from cosmictagger_tf.data.neutrino import neutrinos_of
from cosmictagger_tf.data.truth import event_class
from cosmictagger_tf.detector import COSMIC_ONLY, NC, NUE_CC, NUMU_CC
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.inference.predict.predicted_products import PredictedProducts, particles
from cosmictagger_tf.inference.readouts import Readouts


def readout(probabilities, point=(1.0, -20.0, 300.0)):
    nothing = np.full((1, 3, 2), np.nan), np.full((1, 3), np.nan)
    return Readouts(np.array([probabilities]), *nothing, np.array([point]), np.zeros((1, 3, 3)), np.ones(1))


@pytest.mark.parametrize("called", [NUE_CC, NUMU_CC, NC])
def test_the_particle_reads_back_as_the_class_that_was_called(called):
    probabilities = np.full(4, 0.1)
    probabilities[called] = 0.7
    rows = particles(readout(probabilities))
    assert event_class(neutrinos_of(rows), 100) == called
    assert [rows["vtx"][axis].item() for axis in "xyz"] == [1.0, -20.0, 300.0]


def test_no_neutrino_is_claimed_of_a_readout_that_is_called_cosmic_only_or_without_an_event_head():
    probabilities = np.full(4, 0.1)
    probabilities[COSMIC_ONLY] = 0.7
    for given in (probabilities, np.full(4, np.nan)):
        rows = particles(readout(given))
        assert rows["pdg"].tolist() == [0] and rows["current_type"].tolist() == [-1] and neutrinos_of(rows) == ()


def test_without_a_point_there_is_no_particle():
    assert len(particles(readout(np.full(4, 0.25), [np.nan] * 3))) == 0


def test_products_are_those_of_the_heads_that_there_are():
    def names(clean=False, **heads):
        predicted = PredictedProducts(PredictConfig(clean=clean), NetworkConfig(**heads), DataConfig())
        return predicted.names

    scores = ["sparse2d_neutrino_prediction", "sparse2d_cosmic_prediction"]
    vertex = [f"{kind}_vertex_prediction" for kind in ("bbox2d", "particle", "tensor1d")]
    assert names() == scores and names(clean=True) == [*scores, "sparse2d_cleaned_image"]
    assert names(event_head=True) == [*scores, "tensor1d_event_prediction"]
    assert names(vertex_head=True) == [*scores, *vertex]


@pytest.mark.parametrize(
    "names",
    [("producer_cosmic_score", "producer_cleaned_image"), ("producer_event_prediction", "producer_vertex_prediction")],
)
def test_no_two_products_have_one_name(names):
    with pytest.raises(ConfigError, match=f"--{names[0]} and --{names[1]} must differ"):
        PredictConfig(**dict.fromkeys(names, "a"))
