"""Tables whose columns lie over one another as NumPy has them: HDF5 would write beyond its buffers."""

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import ProductFile
from cosmictagger_tf.data.tables import lies_over
from cosmictagger_tf.errors import DataError
from tests.data.truth_files import truth_file

# How HDF5 describes a column of 8-byte floats, up to the bias of their exponent.
FLOAT = b"\x11\x20\x3f\x00\x08\x00\x00\x00\x00\x00\x40\x00\x34\x0b\x00\x34"


def fields(*formats, offsets=None, itemsize=None):
    options = {"names": [f"c{i}" for i in range(len(formats))], "formats": list(formats)}
    options |= {} if offsets is None else {"offsets": offsets}
    return np.dtype(options | ({} if itemsize is None else {"itemsize": itemsize}))


def test_columns_side_by_side_with_gaps_between_them_are_sound():
    inner = fields("<f8", "<f8", offsets=[0, 16], itemsize=32)
    for sound in (np.dtype("<f8"), inner, fields("<u2", inner, ("<f4", (3,)), offsets=[0, 8, 48], itemsize=64)):
        assert not lies_over(sound)


@pytest.mark.parametrize(
    "dtype",
    [
        fields("<f8", "<f8", offsets=[0, 4], itemsize=16),
        fields("<u2", "<f8", offsets=[7, 0], itemsize=16),
        fields(fields("<f8", "<f8", offsets=[0, 6], itemsize=16), "<u2"),
        fields((fields("<f8", "<f8", offsets=[0, 6], itemsize=16), (2,)), "<u2"),
    ],
    ids=["two", "by_a_byte", "inside", "in_an_array"],
)
def test_columns_that_lie_over_one_another_are_told(dtype):
    assert lies_over(dtype)


def test_a_file_with_such_a_column_is_refused_in_one_line(tmp_path):
    """The z of a particle's last column has another exponent, and so takes 16 bytes in NumPy, over its t."""
    path = truth_file(tmp_path / "over.h5")
    data = bytearray(path.read_bytes())
    place = data.index(b"ancestor_vtx\0")
    for word in (b"z\0\0\0\0\0\0\0", FLOAT):
        place = data.index(word, place)
    data[place + len(FLOAT)] ^= 0x40
    path.write_bytes(data)
    message = "particles: columns lie over one another as NumPy has them: the file is damaged$"
    with pytest.raises(DataError, match=message):
        open_reader(DataConfig(file=(str(path),)), TruthConfig()).read(0)
    with pytest.raises(DataError, match=message):
        ProductFile(str(path)).read(0)
