"""What the tests of reading share."""

import pytest


@pytest.fixture(params=["h5py", pytest.param("larcv", marks=pytest.mark.larcv)])
def reader_name(request):
    """Each reader that is installed."""
    if request.param == "larcv":
        pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    return request.param
