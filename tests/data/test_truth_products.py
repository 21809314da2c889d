"""Producers of truth that no file has are refused, and where vertices come from is logged."""

import contextlib

import pytest

from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import SyntheticReader, open_reader
from cosmictagger_tf.data.truth_products import check_producers, log_vertex_sources
from cosmictagger_tf.errors import ConfigError
from tests.data.sound_files import sound_file
from tests.data.truth_files import truth_file


def opened(*paths, truth=None):
    return contextlib.closing(open_reader(DataConfig(file=tuple(map(str, paths))), truth))


@pytest.mark.parametrize("truth", [None, TruthConfig()], ids=["no truth is read", "truth is read"])
@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("producer_particle", "particle_mine"),
        ("producer_vertex", "bbox2d_mine"),
        ("producer_vertex_cluster", "cluster2d_mine"),
    ],
)
def test_a_producer_that_no_file_has_is_refused(tmp_path, name, product, truth):
    wanted = TruthConfig(**{name: "mine"})
    with opened(sound_file(tmp_path / "a.h5"), truth_file(tmp_path / "b.h5"), truth=truth) as reader:
        with pytest.raises(ConfigError, match=rf"^--{name}=mine: no file has {product} \(.*a.h5 has: sparse2d_"):
            check_producers(reader, wanted)
        # Of another command, or of a run: nobody asked for it here.
        check_producers(reader, wanted, explicit={"file"})


def test_default_and_empty_names_ask_for_nothing(tmp_path):
    empty = TruthConfig(producer_particle="", producer_vertex="", producer_vertex_cluster="")
    with opened(sound_file(tmp_path / "file.h5")) as reader:
        check_producers(reader, TruthConfig())
        check_producers(reader, empty)
    check_producers(SyntheticReader(), TruthConfig(producer_vertex="mine"))


def test_one_file_that_has_it_is_enough(tmp_path):
    named = TruthConfig(producer_vertex="bbox_neutrino", producer_particle="sbndneutrino")
    with opened(sound_file(tmp_path / "a.h5"), truth_file(tmp_path / "b.h5")) as reader:
        check_producers(reader, named)


def test_where_vertices_come_from_is_logged(tmp_path, caplog):
    paths = truth_file(tmp_path / "a.h5"), sound_file(tmp_path / "b.h5")
    with opened(*paths, truth=TruthConfig()) as reader:
        log_vertex_sources(reader)
    assert "true vertices are read from: bbox2d_bbox_neutrino (1 file), nothing (1 file)" in caplog.messages
    with opened(*paths) as reader:
        caplog.clear()
        log_vertex_sources(reader)
    assert not caplog.messages
