"""The truth of readouts, as both readers give it: from files with it and without, and from broken ones."""

import contextlib
import re

import h5py
import numpy as np
import pytest

from cosmictagger_tf import iotest
from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_labelled, open_reader
from cosmictagger_tf.data.pipeline import evaluation_dataset
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.data.truth import event_class
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, NEUTRINO, SBND_TICKS, ImageShape
from cosmictagger_tf.errors import DataError
from tests.data.bad_truth import FAULTS, damage, retyped
from tests.data.larcv_tools import open_library
from tests.data.sound_files import sound_file
from tests.data.truth_files import BOXES, CLUSTERS, PARTICLES, VERTICES, add_clusters, truth_file

# As (wire, time), of the planes 0, 1, 2.
SAMPLE_PIXELS = (
    ((1522, 640), (1269, 641), (1766, 640)),
    ((642, 449), (1406, 450), (1024, 450)),
    ((491, 1134), (982, 1135), (449, 1134)),
)
SAMPLE_VERTICES = ((0.88, -43.8, 472.9), (-59.4, 132.3, 250.2), (155.3, 85.0, 77.7))


def opened(*paths, reader_name="h5py", **producers):
    config = DataConfig(file=tuple(map(str, paths)), reader=reader_name)
    return open_labelled(config, TruthConfig(**producers))


def first_truth(path, **producers):
    """Of the first entry; the file is closed again."""
    with contextlib.closing(opened(path, **producers)) as reader:
        return reader.read(0).truth


def test_truth_comes_with_the_event_where_it_is_asked_for(tmp_path, reader_name):
    path = truth_file(tmp_path / "file.h5")
    reader = opened(path, reader_name=reader_name)
    truths = [reader.read(entry).truth for entry in range(3)]
    assert [[n.flavour for n in truth.neutrinos] for truth in truths] == [["nu_mu CC"], ["NC"], []]
    for truth, vertices in zip(truths, VERTICES, strict=True):
        there = np.isfinite(truth.vertices)
        np.testing.assert_allclose(truth.vertices[there], vertices[there])
    assert [np.isfinite(truth.vertices).all(axis=-1).sum() for truth in truths] == [3, 2, 0]
    assert reader.has_truth
    plain = open_reader(DataConfig(file=(str(path),), reader=reader_name))
    assert plain.read(0).truth is None and not plain.has_truth


def test_boxes_come_before_clusters_and_both_before_the_particles_vertex(tmp_path):
    path = add_clusters(truth_file(tmp_path / "file.h5"))
    assert first_truth(path).vertices[0, 0].tolist() == pytest.approx([3.5, 4.25])
    with h5py.File(path, "a") as file:
        del file[BOXES]
    assert first_truth(path).vertices[0, 0].tolist() == [3.5, 4.5]
    with h5py.File(path, "a") as file:
        del file[CLUSTERS]
    # The images are not of SBND's shape: nothing is projected.
    assert first_truth(path).vertices is None


def test_a_neutrino_without_a_box_is_projected_where_that_can_be_done(tmp_path):
    nowhere = [np.zeros((0, 3, 2))] * 3
    sbnd = truth_file(tmp_path / "sbnd.h5", vertices=nowhere, shape=ImageShape())
    assert first_truth(sbnd).vertices[0, :, 0] == pytest.approx(SBND_TICKS - (190.0 + 0.8) / 0.3125)
    # Which is not known of other images; that there is no neutrino, is.
    reader = opened(truth_file(tmp_path / "other.h5", vertices=nowhere))
    assert reader.read(0).truth.vertices is None and reader.read(2).truth.vertices.shape == (0, 3, 2)


def test_a_file_may_tell_all_or_part_or_nothing(tmp_path, reader_name):
    whole = truth_file(tmp_path / "whole.h5")
    boxes, particles = (truth_file(tmp_path / f"{n}.h5", **{n: None}) for n in ("particles", "vertices"))
    nothing = sound_file(tmp_path / "nothing.h5")
    with h5py.File(nothing, "a") as file:
        # As early larcv3 wrote a product without entries.
        file.create_group(PARTICLES)
    reader = opened(whole, boxes, particles, nothing, reader_name=reader_name)
    truths = [reader.read(entry).truth for entry in (0, 3, 6, 9)]
    assert [truth.neutrinos is None for truth in truths] == [False, True, False, True]
    assert [truth.vertices is None for truth in truths] == [False, False, True, True]


def test_products_of_other_names(tmp_path):
    path = truth_file(tmp_path / "file.h5")
    with h5py.File(path, "a") as file:
        file.move(PARTICLES, "/Data/particle_mine_group")
        file.move(BOXES, "/Data/bbox2d_mine_too_group")
    assert first_truth(path).neutrinos is None
    truth = first_truth(path, producer_particle="mine", producer_vertex="mine_too")
    assert len(truth.neutrinos) == len(truth.vertices) == 1


@pytest.mark.parametrize("kind", FAULTS)
def test_broken_truth_is_one_line_that_names_file_entry_plane_and_product(tmp_path, kind, reader_name):
    path = add_clusters(truth_file(tmp_path / "file.h5"))
    damage(path, kind)
    with pytest.raises(DataError) as caught:
        reader = opened(path, reader_name=reader_name)
        for entry in range(3):
            reader.read(entry)
    assert re.match(re.escape(str(path)) + FAULTS[kind][2], str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    # Who wants pixels alone is not concerned.
    for entry in range(3):
        open_reader(DataConfig(file=(str(path),), reader=reader_name)).read(entry)


def test_iotest_ends_with_that_line(tmp_path, capfd):
    path = add_clusters(truth_file(tmp_path / "file.h5"))
    damage(path, "a box nowhere")
    argv = [f"--file={path}", "--downsample=0", "--minibatch_size=3", "--read_iterations=2", "--truth"]
    assert run_command("iotest", iotest.main, iotest.GROUPS, "", "", argv) == 2
    line = f"{path}, entry 1, plane 1: bbox2d_bbox_neutrino: a box at [nan, nan]"
    assert capfd.readouterr().err.splitlines() == [f"cosmictagger_tf.iotest: {line}"]


@pytest.mark.parametrize(
    "column,kind", [("vtx", "S8"), ("vtx", [(axis, "S4") for axis in "xyzt"]), ("interaction_type", "S4")], ids=str
)
def test_what_a_column_cannot_tell_is_not_told(tmp_path, column, kind):
    path = truth_file(tmp_path / "file.h5")
    with h5py.File(path, "a") as file:
        retyped("particles", **{column: kind})(file[PARTICLES])
    (neutrino,) = first_truth(path).neutrinos
    assert (neutrino.vertex is None) == (column == "vtx") and neutrino.energy == 1.5
    assert neutrino.interaction == -1


def test_an_event_with_broken_truth_may_be_skipped(tmp_path):
    path = truth_file(tmp_path / "file.h5")
    with h5py.File(path, "a") as file:
        rows = file[f"{BOXES}/bboxes"][:]
        rows["centroid"][3] = np.nan
        file[f"{BOXES}/bboxes"][:] = rows
    stream = evaluation_dataset(opened(path), DataConfig(downsample=0, minibatch_size=3), skip=1)
    (batch,) = stream.generate()
    assert batch["entries"].tolist() == [0, 2, FILLER]
    assert [error.entry for error in stream.bad_events()] == [1]


def test_the_samples_truth(sample_file, reader_name):
    reader = opened(sample_file, reader_name=reader_name)
    classes = []
    for entry, (pixels, vertex) in enumerate(zip(SAMPLE_PIXELS, SAMPLE_VERTICES, strict=True)):
        event = reader.read(entry)
        (neutrino,), (places,) = event.truth.neutrinos, event.truth.vertices
        assert np.floor(places[:, ::-1]).astype(int).tolist() == [list(pixel) for pixel in pixels]
        assert neutrino.vertex[:3] == pytest.approx(vertex, abs=0.05)
        count = sum(int((plane.values == NEUTRINO).sum()) for plane in event.label)
        classes.append(EVENT_CLASS_NAMES[event_class(event.truth.neutrinos, count)])
        assert round(neutrino.energy, 2) == (1.39, 1.0, 1.5)[entry]
        assert neutrino.final_state == ("nucleons alone", "nucleons alone", "with a pion")[entry]
        assert neutrino.interaction == (1001, 1001, 1005)[entry]
    assert classes == ["numu_cc", "nue_cc", "numu_cc"]


def test_the_samples_clusters_and_projected_vertices_agree(sample_file):
    clusters, projections = opened(sample_file), opened(sample_file, producer_vertex_cluster="")
    for entry in range(3):
        away = projections.read(entry).truth.vertices - clusters.read(entry).truth.vertices
        # A row is 0.31 cm, a column 0.3 cm.
        assert np.abs(away[..., 0]).max() < 4 and np.abs(away[..., 1]).max() < 2


@pytest.mark.larcv
def test_the_library_reads_the_same_truth(tmp_path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    path = add_clusters(truth_file(tmp_path / "file.h5"))
    manager = open_library(path)
    for entry in range(3):
        manager.read_entry(entry)
        particles = list(manager.get_data("particle", "sbndneutrino").as_vector())
        truth = opened(path).read(entry).truth
        # Of an entry without particles the library shows those of the one before.
        for neutrino in truth.neutrinos:
            told = particles[0].energy_init(), particles[0].nu_current_type(), particles[0].pdg_code()
            assert told == (neutrino.energy, neutrino.current, neutrino.pdg)
        for plane, boxes in enumerate(manager.get_data("bbox2d", "bbox_neutrino").as_vector()):
            meta = boxes.meta()
            centres = [box.centroid() for box in boxes.as_vector()]
            inside = [c for c in centres if all(meta.min(i) <= c[i] < meta.max(i) for i in (0, 1))]
            expected = [[meta.position_to_coordinate(c[i], i) for i in (1, 0)] for c in inside]
            places = truth.vertices[:, plane]
            assert np.floor(places[np.isfinite(places[:, 0])]).tolist() == expected
    manager.finalize()
