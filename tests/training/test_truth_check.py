"""What is refused, or logged, of files that do not tell what a network's heads learn from."""

import contextlib
import re
import shutil

import h5py
import pytest

from cosmictagger_tf.config import DataConfig, NetworkConfig, TruthConfig
from cosmictagger_tf.data.dataset import SyntheticReader, open_labelled
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.training import trainer
from cosmictagger_tf.training.truth_check import check_truth
from tests.data.bad_truth import damage, retyped
from tests.data.sound_files import sound_file
from tests.data.truth_files import PARTICLES, truth_file
from tests.training.backend_worker import run_config

EVENT, VERTEX = NetworkConfig(event_head=True), NetworkConfig(vertex_head=True)


def check(network, *paths, **producers):
    truth = TruthConfig(**producers)
    with contextlib.closing(open_labelled(DataConfig(file=tuple(map(str, paths))), truth)) as reader:
        check_truth(reader, network, truth)


def test_files_that_tell_all_are_taken_in_silence(tmp_path, caplog):
    check(NetworkConfig(event_head=True, vertex_head=True), truth_file(tmp_path / "file.h5"))
    check_truth(SyntheticReader(truth=True), EVENT, TruthConfig())
    assert not caplog.messages


def test_a_particle_product_of_another_name_is_refused_by_the_event_head_alone(tmp_path):
    path = truth_file(tmp_path / "file.h5")
    line = r"--event_head: no file of --file has particle_mine \(.*file.h5 has: bbox2d_bbox_neutrino, .*"
    with pytest.raises(ConfigError, match=f"{line}particle_sbndneutrino, .*see --producer_particle"):
        check(EVENT, path, producer_particle="mine")
    check(VERTEX, path, producer_particle="mine")


def test_a_file_without_vertices_is_refused_by_the_vertex_head_alone(tmp_path):
    path = truth_file(tmp_path / "file.h5", vertices=None)
    with pytest.raises(ConfigError, match=r"--vertex_head: no file .* bbox2d_.*, cluster2d_.*--producer_vertex,"):
        check(VERTEX, path)
    check(EVENT, path)


def test_in_images_of_sbnds_shape_the_particles_tell_the_vertices_where_they_have_them(tmp_path):
    path = truth_file(tmp_path / "file.h5", vertices=None, shape=ImageShape())
    check(VERTEX, path)
    with h5py.File(path, "a") as file:
        retyped("particles", vtx=None)(file[PARTICLES])
    with pytest.raises(ConfigError, match="--vertex_head"):
        check(VERTEX, path)


def test_a_file_of_cosmic_rays_may_be_among_others_and_is_named(tmp_path, caplog):
    check(EVENT, truth_file(tmp_path / "file.h5"), sound_file(tmp_path / "cosmics.h5"))
    (line,) = caplog.messages
    assert re.match(r"--event_head: 1 of 2 files, the first of them .*cosmics.h5, do not have particle_sbndneut", line)


def test_of_the_validation_file_labels_alone_are_read(tmp_path):
    path = truth_file(tmp_path / "file.h5")
    bad = shutil.copy(path, tmp_path / "bad.h5")
    damage(bad, "a box nowhere")
    job = {"synthetic": False, "file": [str(path)], "aux_file": [str(bad)], "run_id": "run", "iterations": 1}
    reader, other = trainer.open_files(run_config(str(tmp_path), job | {"event_head": True}))
    assert reader.read(1).truth and other.read(1).truth is None


def test_a_training_looks_before_it_begins(tmp_path):
    job = {"synthetic": False, "file": [str(sound_file(tmp_path / "file.h5"))], "run_id": "run", "iterations": 1}
    trainer.open_files(run_config(str(tmp_path), job))
    with pytest.raises(ConfigError, match="--event_head: no file"):
        trainer.open_files(run_config(str(tmp_path), job | {"event_head": True}))
