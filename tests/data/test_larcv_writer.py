"""What the writer writes: products copied unchanged, new ones beside them, and the larcv library reads both."""

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_products import ProductFile, Products
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.vertices import boxes_at
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError
from tests.data.larcv_tools import library_content, library_numbers
from tests.data.sound_files import SHAPE
from tests.data.truth_files import BOXES, CM, VERTICES, truth_file


@pytest.fixture
def every_kind(any_file, tmp_path):
    """Three events with products of every kind that is known in 2D; a simulated file gets its clusters here."""
    path = tmp_path / "events.h5"
    shutil.copy(any_file, path)
    with h5py.File(path, "r+") as file:
        if not any(name.startswith("cluster2d") for name in file["Data"]):
            add_clusters(file)
    return path


def add_clusters(file):
    """Adds cluster2d_halves: the wires' pixels, those of each plane in two clusters."""
    group = file.create_group("Data/cluster2d_halves_group")
    for name, table in file["Data/sparse2d_sbndwire_group"].items():
        file.copy(table, group, "projection_extents" if name == "voxel_extents" else name)
    planes = group["projection_extents"][:]
    clusters = np.repeat(planes, 2)
    clusters["ID"] = np.tile([0, 1], len(planes))
    clusters["N"][::2] //= 2
    clusters["N"][1::2] -= clusters["N"][::2]
    clusters["first"][1::2] += clusters["N"][::2]
    group.create_dataset("cluster_extents", data=clusters, chunks=(100,), maxshape=(None,))
    planes["first"], planes["N"] = 2 * np.arange(len(planes)), 2
    group["projection_extents"][:] = planes


def copy(source, target, entries, names=None):
    """Copies some entries of a file and adds the image, halved, as the product sparse2d_half."""
    reader = open_reader(DataConfig(file=(str(source),)))
    products = Products(reader, names)
    with LarcvWriter(target, reader.shape) as writer:
        for entry in entries:
            half = tuple(PlanePixels(p.rows, p.columns, p.values / 2) for p in reader.read(entry).image)
            writer.write(reader.event_id(entry), {"half": half}, copied=products.read(entry))
    products.close()
    reader.close()


def raw_tables(path):
    """Every table of a file: name -> (HDF5 type, chunk, bytes)."""
    tables = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            memory = np.zeros(item.shape, f"V{item.id.get_type().get_size()}")
            item.id.read(h5py.h5s.ALL, h5py.h5s.ALL, memory.view(np.uint8), item.id.get_type())
            tables[name] = item.id.get_type(), item.chunks, memory.tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return tables


def test_a_full_copy_has_the_same_tables_to_the_byte(every_kind, tmp_path):
    copy(every_kind, tmp_path / "copy.h5", range(3))
    original, copied = raw_tables(every_kind), raw_tables(tmp_path / "copy.h5")
    assert {name for name in copied if "sparse2d_half" not in name} == set(original)
    for name, (kind, chunk, content) in original.items():
        assert kind == copied[name][0] and chunk == copied[name][1], name
        assert content == copied[name][2], name


@pytest.mark.larcv
@pytest.mark.parametrize("entries", [[0, 1, 2], [2, 0], [1, 1]])
def test_the_library_reads_every_product_of_the_copy_as_of_the_original(every_kind, tmp_path, entries):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    copy(every_kind, tmp_path / "copy.h5", entries)
    for place, entry in enumerate(entries):
        original, copied = library_content(every_kind, entry), library_content(tmp_path / "copy.h5", place)
        half = copied.pop(("sparse2d", "half"))
        assert {key[0] for key in original if key != "event"} >= {"sparse2d", "cluster2d", "particle"}
        assert copied == original
        for (meta, (ids, values)), (meta_of_image, (ids_of_image, of_image)) in zip(
            half, original["sparse2d", "sbndwire"], strict=True
        ):
            assert meta == meta_of_image and ids == ids_of_image
            np.testing.assert_array_equal(values, np.float32(of_image) / 2)


def test_chosen_products_only(every_kind, tmp_path):
    copy(every_kind, tmp_path / "copy.h5", [1], ["particle_sbndneutrino", "sparse2d_sbndwire"])
    with h5py.File(tmp_path / "copy.h5") as file:
        assert sorted(file["Data"]) == ["particle_sbndneutrino_group", "sparse2d_half_group", "sparse2d_sbndwire_group"]
        with h5py.File(every_kind) as source:
            _, particles = source["Data/particle_sbndneutrino_group/extents"][1]
        assert file["Data/particle_sbndneutrino_group/extents"][:].tolist() == [(0, particles)] != [(0, 0)]


def test_ranges_in_another_order_are_copied_into_order(every_kind, tmp_path):
    with h5py.File(every_kind) as source, h5py.File(tmp_path / "turned.h5", "w") as turned:
        for name in ("Events", "Data"):
            source.copy(name, turned)
        group = turned["Data/sparse2d_sbndwire_group"]
        # Plane 1's voxels before plane 0's, in entry 0.
        rows = group["voxel_extents"][:]
        (_, n, _), (_, m, _) = rows[0], rows[1]
        voxels = group["voxels"][:]
        group["voxels"][: n + m] = np.concatenate([voxels[n : n + m], voxels[:n]])
        rows["first"][:2] = m, 0
        group["voxel_extents"][:] = rows
    copy(tmp_path / "turned.h5", tmp_path / "copy.h5", range(3))
    name = "Data/sparse2d_sbndwire_group/voxels"
    assert raw_tables(tmp_path / "copy.h5")[name] == raw_tables(every_kind)[name]


def test_what_cannot_be_copied_is_named(every_kind, tmp_path):
    with pytest.raises(DataError, match="has no product particle_nobody"):
        ProductFile(str(every_kind), ["particle_nobody"])
    path = tmp_path / "other.h5"
    with h5py.File(every_kind) as source, h5py.File(path, "w") as other:
        for name in ("Events", "Data"):
            source.copy(name, other)
        other["Data/particle_sbndneutrino_group/extents"][1] = (12, 1000)
        particles = len(other["Data/particle_sbndneutrino_group/particles"])
        other.create_group("Data/wavelet_x_group")
    with pytest.raises(DataError, match="wavelet_x, a kind that is not known"):
        ProductFile(str(path))
    with pytest.raises(DataError, match=rf"other.h5, entry 1: particle_sbndneutrino: .* beyond the {particles} rows"):
        ProductFile(str(path), ["particle_sbndneutrino"]).read(1)


@pytest.mark.larcv
def test_boxes_are_written_as_the_library_writes_them(tmp_path):
    larcv = pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    output = {"OutFileName": str(tmp_path / "library.h5")}
    manager = larcv.IOManager({"Name": "boxes", "Verbosity": 5, "IOMode": 1, "Output": output})
    manager.initialize()
    for entry, vertices in enumerate(VERTICES):
        product = manager.get_data("bbox2d", "bbox_neutrino")
        product.clear()
        for plane, meta in enumerate(CM):
            image = larcv.ImageMeta2D()
            image.set_projection_id(plane)
            for axis in (0, 1):
                sizes = (meta[name][axis] for name in ("image_sizes", "number_of_voxels", "origin"))
                image.set_dimension(axis, *sizes)
            boxes = larcv.BBoxCollection2D()
            boxes.meta(image)
            for box in boxes_at(vertices[:, plane], SHAPE, meta):
                boxes.append(larcv.BBox2D(box["centroid"].tolist(), box["half_length"].tolist()))
            product.append(boxes)
        manager.set_id(1, 2, entry)
        manager.save_entry()
    manager.finalize()
    truth_file(tmp_path / "ours.h5")
    with h5py.File(tmp_path / "library.h5") as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        assert len(theirs[BOXES]) == 4
        for name in theirs[BOXES]:
            table, other = theirs[f"{BOXES}/{name}"], ours[f"{BOXES}/{name}"]
            assert table.id.get_type() == other.id.get_type() and np.array_equal(table[:], other[:]), name
    for entry in range(3):
        assert library_boxes(tmp_path / "library.h5", entry) == library_boxes(tmp_path / "ours.h5", entry)


def library_boxes(path, entry):
    return library_content(path, entry)["bbox2d", "bbox_neutrino"]


def test_boxes_are_copied(tmp_path):
    original = raw_tables(truth_file(tmp_path / "original.h5"))
    copy(tmp_path / "original.h5", tmp_path / "copy.h5", range(3))
    copied = raw_tables(tmp_path / "copy.h5")
    assert len([name for name in original if "bbox2d" in name]) == 4
    for name in original:
        assert original[name] == copied[name], name


@pytest.mark.larcv
def test_numbers_are_written_as_the_library_writes_them(tmp_path):
    larcv = pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    events = [[[0.1, np.nan, 0.3], [7.0]], [[-1.0, 2.0, np.inf], [1e-30]]]
    manager = larcv.IOManager(larcv.IOManager.kWRITE)
    manager.set_out_file(str(tmp_path / "library.h5"))
    manager.initialize()
    with LarcvWriter(tmp_path / "ours.h5", SHAPE) as writer:
        for entry, tensors in enumerate(events):
            product = manager.get_data("tensor1d", "numbers")
            product.clear()
            for number, values in enumerate(tensors):
                tensor = larcv.Tensor1D(np.float32(values))
                tensor.set_projection_id(number)
                product.append(tensor)
            manager.set_id(1, 2, entry)
            manager.save_entry()
            writer.write((1, 2, entry), {}, tensor1d={"numbers": tensors})
    manager.finalize()
    with h5py.File(tmp_path / "library.h5") as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        group = "Data/tensor1d_numbers_group"
        assert set(theirs[group]) == set(ours[group])
        for name in theirs[group]:
            table, other = theirs[f"{group}/{name}"], ours[f"{group}/{name}"]
            assert table.id.get_type() == other.id.get_type(), name
            np.testing.assert_array_equal(table[:], other[:], err_msg=name)
    for entry, tensors in enumerate(events):
        for path in ("library.h5", "ours.h5"):
            for number, values in library_numbers(tmp_path / path, entry, "numbers"):
                np.testing.assert_array_equal(values, np.float32(tensors[number]))


def test_every_event_has_the_same_products(tmp_path):
    planes = (PlanePixels.empty(),) * 3
    with LarcvWriter(tmp_path / "x.h5", ImageShape()) as writer:
        writer.write((0, 0, 0), {"a": planes})
        with pytest.raises(ValueError, match="sparse2d_b"):
            writer.write((0, 0, 1), {"a": planes, "b": planes})


MEMORY = """
import resource, sys
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import Products
from cosmictagger_tf.data.larcv_writer import LarcvWriter
reader = open_reader(DataConfig(file=(sys.argv[1],)))
products = Products(reader)
with LarcvWriter(sys.argv[2], reader.shape) as writer:
    for number in range(120):
        if number == 20:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writer.write(reader.event_id(number % 3), {}, copied=products.read(number % 3))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_length(every_kind, tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", MEMORY, str(every_kind), str(tmp_path / "long.h5")]
    grown = float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)
    # A hundred events are 290 MB inflated, and 80 MB on the disk.
    assert grown < 20, f"{grown} MB"
