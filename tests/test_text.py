"""Numbers and lists of things."""

import pytest

from cosmictagger_tf.config import check_image_shape
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted, listed


def test_one_thing_has_no_plural():
    assert [counted(n, "plane") for n in (0, 1, 2)] == ["0 planes", "1 plane", "2 planes"]
    assert (counted(1, "entry"), counted(2, "entry"), counted(1.25, "step", ".2g")) == (
        "1 entry",
        "2 entries",
        "1.2 steps",
    )
    assert str(ImageShape(1, 1, 64)) == "1 plane of 1 row x 64 columns"
    with pytest.raises(ConfigError, match=r"halved 2 times, .* of 2 can be halved only 1 time: it must"):
        check_image_shape(ImageShape(1, 2, 4), 2, 0)


def test_a_long_list_is_cut():
    assert (listed([]), listed("ab"), listed("abcd", 2)) == ("none", "a, b", "a, b, ...")
