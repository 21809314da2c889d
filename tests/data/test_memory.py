"""Memory is refused to a library that asks for too much of it."""

import resource
import sys

import numpy as np
import pytest

from cosmictagger_tf.data.memory import limited_growth


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc")
def test_growth_is_limited_within_and_not_after():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_growth(256 << 20):
        np.empty(64 << 20, np.uint8)
        with pytest.raises(MemoryError):
            np.empty(1 << 30, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    np.empty(1 << 30, np.uint8)


def test_a_lower_limit_stays():
    lowest = resource.getrlimit(resource.RLIMIT_AS)
    with limited_growth(1 << 30):
        within = resource.getrlimit(resource.RLIMIT_AS)
        with limited_growth(1 << 40):
            assert resource.getrlimit(resource.RLIMIT_AS) == within
    assert resource.getrlimit(resource.RLIMIT_AS) == lowest
