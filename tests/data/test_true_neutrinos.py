"""The true neutrinos of a data set, without its pixels."""

import shutil

import h5py
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.true_neutrinos import read_interactions
from cosmictagger_tf.errors import DataError
from tests.data.sound_files import sound_file
from tests.data.truth_files import truth_file


def test_the_samples_neutrinos_are_found(sample_file):
    reader = open_reader(DataConfig(file=(str(sample_file),), first_entry=1))
    neutrinos = [neutrino for (neutrino,) in read_interactions(reader, "sbndneutrino")]
    assert [n.flavour for n in neutrinos] == ["nu_e CC", "nu_mu CC"]
    assert [n.energy for n in neutrinos] == pytest.approx([1.0023, 1.5037], abs=1e-4)
    assert read_interactions(reader, "nothing") is None


def test_a_neutrino_that_cannot_be_read_is_none_where_events_may_be_skipped(simulated_file, tmp_path, caplog):
    damaged = tmp_path / "damaged.h5"
    shutil.copy(simulated_file, damaged)
    with h5py.File(damaged, "a") as file:
        file["Data/particle_sbndneutrino_group/extents"][3, "first"] = 1 << 40
    reader = open_reader(DataConfig(file=(str(damaged), str(simulated_file))))
    with pytest.raises(DataError, match=r"damaged\.h5, entry 3: "):
        read_interactions(reader, "sbndneutrino")
    neutrinos = read_interactions(reader, "sbndneutrino", skip_broken=True)
    assert [n is None for n in neutrinos] == [i == 3 for i in range(20)] and len(caplog.messages) == 1
    assert neutrinos[:3] == neutrinos[10:13]


def test_files_with_the_product_and_without_may_be_mixed(tmp_path):
    paths = str(sound_file(tmp_path / "without.h5", entries=2)), str(truth_file(tmp_path / "with.h5"))
    neutrinos = read_interactions(open_reader(DataConfig(file=paths)), "sbndneutrino")
    flavours = [those and [neutrino.flavour for neutrino in those] for those in neutrinos]
    assert flavours == [None, None, ["nu_mu CC"], ["NC"], ()]
