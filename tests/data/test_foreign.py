"""Files of other kinds are called what they are, by both readers and wherever a file is named."""

import gzip
import io
import tarfile
import zipfile

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.errors import DataError
from tests.commands import TINY, refusal
from tests.data.file_changes import content, with_h5
from tests.data.sound_files import IMAGE, sound_file


def npz(path):
    with open(path, "wb") as file:
        np.savez(file, image=np.zeros((3, 64, 128), np.float32))


def npy(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros((3, 64, 128), np.float32))


def packed(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


def zipped(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "x")


def tar(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("x"), io.BytesIO())


def other_hdf5(attributes):
    def make(path):
        with h5py.File(path, "w") as file:
            file["100/frame_rebinned_reco"] = np.zeros((256, 150), np.float32)
            file.attrs.update(attributes)

    return make


def products(*kinds):
    """The sound file with products of these kinds and no others."""

    def change(file):
        del file["Data"]
        file.create_group("Data")
        for kind in kinds:
            file[f"Data/{kind}_group/extents"] = np.zeros(4, [("first", "<u8"), ("N", "<u4")])

    return with_h5(change)


FOREIGN = {
    "ROOT": (content(b"root\0\0\xf6\x3c\0\0\0d" + bytes(range(256))), "no HDF5 file but a ROOT file: convert"),
    "Git LFS": (
        content(b"version https://git-lfs.github.com/spec/v1\noid sha256:7\nsize 448212992\n"),
        "a Git LFS pointer to it: run `git lfs pull`",
    ),
    "npz": (npz, r"NumPy arrays \(.npz\)"),
    "npy": (npy, r"a NumPy array \(.npy\)"),
    "gzip": (packed, "compressed with gzip: gunzip it first"),
    "zip": (zipped, "a zip archive: unpack it"),
    "tar": (tar, "a tar archive: unpack it"),
    "PNG": (content(b"\x89PNG\r\n\x1a\n" + bytes(99)), "a picture"),
    "netCDF": (content(b"CDF\x02" + bytes(99)), "a netCDF file"),
    "CSV": (content("entry,plane,ADC\n0,1,5 µV\n".encode() * 500), "text: convert"),
    "web page": (content(b"\n<!DOCTYPE html><html><body>Log in</body></html>"), "a web page: .*download it again"),
    "zeros": (content(bytes(10_000)), "zeros: .*did not finish"),
    "noise": (content(bytes(range(255, 0, -1)) * 40), "no HDF5 file, or a broken one: copy or make it again"),
    "other HDF5": (other_hdf5({}), "is HDF5, but no larcv3 file: it has 100, and neither"),
    "netCDF-4": (other_hdf5({"_NCProperties": "version=2"}), "is netCDF-4, but no larcv3 file"),
    "sparse3d alone": (
        products("sparse3d_data"),
        r"no sparse2d product 'sbndwire' \(it has: sparse3d_data\): only sparse2d products are read",
    ),
    "dense images alone": (products("image2d_wire"), r"\(it has: image2d_wire\): only sparse2d"),
    "an empty image": (
        with_h5(lambda file: file[IMAGE].clear()),
        r"no sparse2d product 'sbndwire' \(it has: sbnd_cosmicseg\); see --producer_image",
    ),
    "many products": (products(*(f"sparse2d_p{i:02}" for i in range(40))), r"\(it has: p00, .*, p11, ...\); see"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_it_is_called_what_it_is(tmp_path, kind, reader_name):
    make, message = FOREIGN[kind]
    path = sound_file(tmp_path / "file.h5")
    make(path)
    with pytest.raises(DataError, match=rf"^{path}: .*{message}") as caught:
        open_reader(DataConfig(file=(str(path),), reader=reader_name))
    assert "\n" not in str(caught.value)


def test_the_line_names_the_flag_and_the_file_that_are_to_blame(tmp_path):
    good, pointer = sound_file(tmp_path / "good.h5"), tmp_path / "pointer.h5"
    FOREIGN["Git LFS"][0](pointer)
    options = ["--downsample=0", "--iterations=1", f"--output_dir={tmp_path}", *TINY, f"--file={good}"]
    for aux, message in ((pointer, f"{pointer}: is no HDF5 file but a Git LFS"), (tmp_path / "no*.h5", "--aux_file=")):
        assert message in refusal("train", *options, f"--aux_file={aux}")
    assert f"--compare={tmp_path}/no*.h5: no file matches" in refusal("simulate", f"--compare={tmp_path}/no*.h5")
