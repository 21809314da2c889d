"""The file of scores is read back entry by entry, by both readers; what cannot be carried over is refused at once."""

import contextlib
from itertools import pairwise

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, NetworkConfig, PredictConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction
from cosmictagger_tf.inference.predict.predicted_products import PredictedProducts
from cosmictagger_tf.inference.predict.scores_file import WorkFolder, copied_products, join_parts, plan_parts, publish
from cosmictagger_tf.inference.readouts import Readouts
from tests.data.file_changes import columns, emptied, permuted, table, value, with_h5
from tests.data.odd_files import ODDITIES
from tests.data.sound_files import EXTENTS, IMAGE, LABEL, META, PLANES, SHAPE, VOXELS, sound_file

PRODUCERS = ("neutrino_prediction", "cosmic_prediction")
DATA = DataConfig(file=("x",), downsample=0)
PREDICTED = PredictedProducts(PredictConfig(), NetworkConfig(event_head=True, vertex_head=True), DATA)


def without(*entries):
    """These entries have no planes, and no rows anywhere, in any product."""

    def change(file):
        for group in (IMAGE, LABEL):
            extents = file[f"{group}/extents"][:]
            rows = np.ones(len(file[f"{group}/voxel_extents"]), bool)
            for entry in entries:
                first, count = (int(extents[name][entry]) for name in ("first", "N"))
                rows[first : first + count] = False
                extents["N"][entry] = 0
            extents["first"] = np.cumsum(extents["N"]) - extents["N"]
            file[f"{group}/extents"][:] = extents
            for name in ("voxel_extents", "image_meta"):
                kept = file[f"{group}/{name}"][:][rows]
                file[f"{group}/{name}"].resize((len(kept),))
                file[f"{group}/{name}"][:] = kept

    return with_h5(change)


def with_particles(file):
    """A particle product of 0 to 3 particles an entry."""
    group = file.create_group("Data/particle_p_group")
    kind = [("first", "<u8"), ("N", "<u4")]
    group.create_dataset(
        "extents", data=np.array([(0, 0), (0, 3), (3, 1), (4, 0)], kind), chunks=(4,), maxshape=(None,)
    )
    rows = np.array([(i, 14 + i) for i in range(4)], [("id", "<u2"), ("pdg", "<i4")])
    group.create_dataset("particles", data=rows, chunks=(4,), maxshape=(None,))


CASES = {
    "sound": [],
    "an entry without planes": [without(1)],
    "the first and the last without planes": [without(0, 3)],
    "no entry but one with planes": [without(0, 1, 3)],
    "planes without rows of their own": [ODDITIES["an event without planes"]],
    "a plane without pixels": [with_h5(lambda file: emptied(file, IMAGE, [1]))],
    "an entry without pixels": [with_h5(lambda file: [emptied(file, group, range(3)) for group in (IMAGE, LABEL)])],
    "planes in another order": [with_h5(lambda file: permuted(file, IMAGE, [2, 0, 1]))],
    "particles": [with_h5(with_particles)],
    "narrow columns": [
        table(EXTENTS, lambda rows: columns(rows, first="u1")),
        table(PLANES, lambda rows: columns(rows, first="<u2")),
        table(VOXELS, lambda rows: columns(rows, id="<i4", value="<f8")),
    ],
    "image_meta of two columns": [table(META, lambda rows: columns(rows, valid=None, image_sizes=None, origin=None))],
    "an image that is not valid": [value(META, "valid", 4, 0)],
    "an older file of scores": [
        with_h5(lambda file: file.create_group("Data/sparse2d_cosmic_prediction_group").create_group("extents"))
    ],
}
NOT_FOR_THE_LIBRARY = {"image_meta of two columns", "an image that is not valid"}


def score(event, plane, index):
    """A number made of where it belongs."""
    pixels = event.image[plane]
    return ((event.event_id[2] * 3 + plane) * 2 + index + (pixels.rows % 8) / 8).astype(np.float32)


def readout(number):
    """The predictions for a readout whose geometry is not known: a vertex in a pixel of its number, none on plane 1."""
    places = np.array([(number + 0.25, 3.5), (np.nan, np.nan), (number + 0.25, 5.5)])
    nothing = np.full((1, 3), np.nan), np.full((1, 3, 3), np.nan), np.full(1, np.nan)
    return Readouts(np.full((1, 4), 0.25), places[None], np.array([[0.9, np.nan, 0.7]]), *nothing)


def written(paths, output):
    """The events of the files, of which a file of scores is written."""
    reader = open_reader(DataConfig(file=tuple(map(str, paths)), producer_label=""))
    events = [reader.read(entry) for entry in range(len(reader))]
    parts, work = plan_parts(len(reader), 3), WorkFolder(output)
    work.path.mkdir()
    for part in parts:
        predictions = []
        for event in events[part.first : part.last]:
            scores = [np.stack([score(event, plane, index) for index in (0, 1)], axis=1) for plane in range(3)]
            predictions.append(EventPrediction(scores, np.zeros(3, int), np.zeros(3), readout=readout(event.entry)))
        work.save(part, predictions)
    copied = copied_products(reader, PREDICTED.names)
    join_parts(reader, work, parts, PREDICTED, copied, lambda events: None)
    assert not output.exists()
    publish(work)
    reader.close()
    return events


@pytest.mark.parametrize("case", CASES)
def test_every_entry_is_read_back_by_both_readers(tmp_path, case, reader_name):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        sound_file(path)
        for change in CASES[case]:
            change(path)
    events = written(paths, tmp_path / "scores.h5")
    assert len(events) == 8
    for index, producer in enumerate(PRODUCERS):
        files = (str(tmp_path / "scores.h5"),)
        # What the library cannot read of the input it cannot read of the copy.
        readers = {"sbndwire": "h5py" if case in NOT_FOR_THE_LIBRARY else reader_name, producer: reader_name}
        both = [
            open_reader(DataConfig(file=files, reader=reader, producer_image=name, producer_label=""))
            for name, reader in readers.items()
        ]
        assert [len(reader) for reader in both] == [8, 8]
        for entry, event in enumerate(events):
            image, scores = (reader.read(entry) for reader in both)
            assert image.event_id == scores.event_id == event.event_id
            for plane in range(3):
                for name in ("rows", "columns"):
                    before = getattr(event.image[plane], name)
                    assert np.array_equal(getattr(scores.image[plane], name), before)
                    assert np.array_equal(getattr(image.image[plane], name), before)
                assert np.array_equal(image.image[plane].values, event.image[plane].values)
                assert np.array_equal(scores.image[plane].values, score(event, plane, index))
        for reader in both:
            reader.close()
    truth = TruthConfig(producer_vertex="vertex_prediction")
    with contextlib.closing(open_reader(DataConfig(file=files, producer_label=""), truth)) as reader:
        for entry in range(len(events)):
            vertices = reader.read(entry).truth.vertices
            if has_planes(paths[entry // 4], entry % 4):
                np.testing.assert_allclose(vertices, readout(entry).vertices)
            else:
                assert len(vertices) == 0
    with h5py.File(tmp_path / "scores.h5") as file:
        for name, product in file["Data"].items():
            chain = [product[table] for table in ("extents", "voxel_extents", "voxels") if table in product]
            for rows, after in pairwise(chain):
                assert rows["N"].sum() == len(after), name
            assert len(product["extents"]) == 8
            if "image_meta" in product and "voxel_extents" in product:
                assert len(product["image_meta"]) == len(product["voxel_extents"]), name


def has_planes(path, entry):
    with h5py.File(path) as file:
        return file[EXTENTS]["N"][entry] > 0


def test_an_empty_group_is_left_out_and_logged(tmp_path, caplog):
    path = sound_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.create_group("Data/particle_testio_group")
        file["Data/sparse2d_sbnd_cosmicseg_group"].clear()
    assert not open_reader(DataConfig(file=(str(path),))).has_labels
    written([path], tmp_path / "scores.h5")
    assert caplog.messages == [
        f"left out: {path}: nothing but its group is there of particle_testio, sparse2d_sbnd_cosmicseg"
    ]
    with h5py.File(tmp_path / "scores.h5") as file:
        assert sorted(file["Data"]) == sorted(f"{name}_group" for name in ("sparse2d_sbndwire", *PREDICTED.names))


REFUSED = {
    "a product that is too short": (
        lambda file: (with_particles(file), file["Data/particle_p_group/extents"].resize((2,))),
        r"b.h5: product particle_p has 2 entries, but the file 4 event ids",
    ),
    "a product that is too long": (
        lambda file: (with_particles(file), file["Data/particle_p_group/extents"].resize((5,))),
        r"b.h5: product particle_p has 5 entries, but the file 4 event ids",
    ),
    "ranges beyond the table": (
        lambda file: (with_particles(file), file["Data/particle_p_group/particles"].resize((3,))),
        r"b.h5: particle_p: extents point beyond the 3 rows of .*particles",
    ),
    "a product of one of the files": (with_particles, "b.h5: has the product particle_p, unlike .*a.h5"),
    "things of variable length": (
        lambda file: file.create_dataset(f"{LABEL}/names", data=["x"] * 12, dtype=h5py.string_dtype()),
        "b.h5: cannot copy .*names: it holds things of variable length",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_carried_over_is_said_before_a_score_is_computed(tmp_path, kind):
    change, message = REFUSED[kind]
    paths = [sound_file(tmp_path / name) for name in ("a.h5", "b.h5")]
    with h5py.File(paths[1], "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        copied_products(open_reader(DataConfig(file=tuple(map(str, paths)))), PREDICTED.names)


def test_files_whose_columns_differ_are_not_joined(tmp_path):
    paths = [sound_file(tmp_path / name) for name in ("a.h5", "b.h5")]
    table(VOXELS, lambda rows: columns(rows, id="<u4"))(paths[1])
    with pytest.raises(DataError, match=r"b.h5: has other columns in the product sparse2d_sbndwire, unlike .*a.h5"):
        copied_products(open_reader(DataConfig(file=tuple(map(str, paths)))), PREDICTED.names)


def test_a_writer_wants_as_many_metas_as_planes(tmp_path):
    planes = (PlanePixels.empty(),) * 3
    with (
        pytest.raises(ValueError, match="0 rows of image_meta for 3 planes"),
        h5py.File(sound_file(tmp_path / "a.h5")) as source,
        LarcvWriter(tmp_path / "x.h5", SHAPE) as file,
    ):
        file.write((0, 0, 0), {"a": planes}, metas={"a": source[META][:0]})
    assert not (tmp_path / "x.h5").exists()
