"""What reading through a data set counts and checks."""

import numpy as np
import pytest

from cosmictagger_tf import iotest
from cosmictagger_tf.benchmarking.throughput import Throughput, check_batch, read_through
from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_reader
from tests.data.sound_files import SHAPE
from tests.data.truth_files import truth_file


@pytest.fixture
def config(tmp_path):
    return DataConfig(file=(str(truth_file(tmp_path / "file.h5")),), downsample=0, minibatch_size=1)


def test_readouts_are_counted_by_class_where_truth_is_read(config):
    # A muon neutrino, a neutral current, and one whose pixels no neutrino explains.
    read, _ = read_through(open_reader(config, TruthConfig()), config, 3, 0)
    assert read.classes_text() == "nue_cc 0, numu_cc 1, nc 1, cosmic_only 0, unknown 1"
    assert Throughput.together([read, read]).classes_text() == "nue_cc 0, numu_cc 2, nc 2, cosmic_only 0, unknown 2"
    plain, _ = read_through(open_reader(config), config, 3, 0)
    assert not plain.classes and plain.pixels == read.pixels


def test_a_vertex_outside_the_image_is_a_defect(config):
    batch = {
        name: np.zeros(shape, np.int32)
        for name, shape in {
            "image_coordinates": (1, 3, 1, 2),
            "image_values": (1, 3, 1),
            "label_coordinates": (1, 3, 1, 2),
            "label_values": (1, 3, 1),
        }.items()
    }
    check_batch(batch | {"vertices": np.array([[[[31.5, 63.5], [-1, -1], [0, 0]]]])}, SHAPE)
    for place in ([32.0, 5.0], [5.0, 64.0], [-1.0, 5.0]):
        with pytest.raises(ValueError, match="a vertex lies outside 3 planes"):
            check_batch(batch | {"vertices": np.array([[[place] * 3]])}, SHAPE)


def test_iotest_names_the_classes(config, capsys):
    flags = [f"--file={config.file[0]}", "--downsample=0", "--read_iterations=3", "--minibatch_size=1"]
    assert run_command("iotest", iotest.main, iotest.GROUPS, "", "", [*flags, "--truth"]) == 0
    assert "\nnue_cc 0, numu_cc 1, " in capsys.readouterr().out
