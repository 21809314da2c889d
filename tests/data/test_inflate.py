"""Inflating chunks: every method gives the same, and finds what is broken."""

import os
import shutil
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmictagger_tf.data import inflate
from cosmictagger_tf.data.loops import LOOPS

LENGTH = 4000
CHUNKS = 3
METHODS = [pytest.param(call, id=name) for name, call in inflate.METHODS.items()]


def make_chunks(count: int, seed: int = 0) -> tuple[np.ndarray, list[int], np.ndarray]:
    """(packed, sizes, what comes out) of chunks that compress by different amounts."""
    draws = np.random.default_rng(seed)
    whole = np.stack([draws.integers(0, 2 + 50 * i % 256, LENGTH).astype(np.uint8) for i in range(count)])
    packed = [zlib.compress(row.tobytes(), i % 10) for i, row in enumerate(whole)]
    return np.frombuffer(b"".join(packed), np.uint8), [len(p) for p in packed], whole


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [0, 1, 60])
def test_inflates_chunks(method, count):
    packed, sizes, whole = make_chunks(count) if count else (np.zeros(0, np.uint8), [], np.zeros((0, LENGTH), np.uint8))
    out = np.full_like(whole, 7)
    method(packed, sizes, out)
    assert np.array_equal(out, whole)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fault", ["header", "cut", "checksum", "shorter", "longer"])
def test_a_broken_chunk_is_refused(method, fault):
    packed, sizes, _ = make_chunks(3)
    packed, length = packed.copy(), LENGTH
    if fault == "header":
        packed[sizes[0]] = 0
    elif fault == "cut":
        sizes[2] -= 5
    elif fault == "checksum":
        packed[-1] ^= 1
    else:
        length += 1 if fault == "shorter" else -1
    with pytest.raises(ValueError, match="a compressed chunk is broken"):
        method(packed, sizes, np.zeros((3, length), np.uint8))


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_disturb_each_other(method):
    wrong = []

    def work(seed):
        packed, sizes, whole = make_chunks(20, seed)
        for _ in range(20):
            out = np.zeros_like(whole)
            method(packed, sizes, out)
            if not np.array_equal(out, whole):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def voxel_table(seed: int, labels: bool) -> np.ndarray:
    """uint8 [rows * 16], as larcv3 stores voxels: ids that ascend, values, four bytes of nothing."""
    draws = np.random.default_rng(seed)
    table = np.zeros(1000, [("id", "<u8"), ("value", "<f4"), ("nothing", "<u4")])
    table["id"] = np.cumsum(1 + 20 * (draws.random(1000) < 0.1))
    table["value"] = draws.integers(0, 3, 1000) if labels else draws.gamma(2.0, 20.0, 1000)
    return table.view(np.uint8)


@pytest.mark.skipif(inflate.inflater() is None, reason="libdeflate is not here")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_chunks_are_refused_or_right(data):
    """Whatever is done to chunks, libdeflate makes of them what zlib makes."""
    packed = [bytearray(zlib.compress(voxel_table(i, data.draw(st.booleans())).tobytes())) for i in range(CHUNKS)]
    for _ in range(data.draw(st.integers(1, 3))):
        chunk = packed[data.draw(st.integers(0, CHUNKS - 1))]
        # Mostly where the codes are, at the beginning.
        at = data.draw(st.integers(0, min(len(chunk), 120) - 1) | st.integers(0, len(chunk) - 1))
        if data.draw(st.integers(0, 9)):
            chunk[at] = data.draw(st.integers(0, 255))
        else:
            del chunk[max(at, 1) :]
    sizes, joined = [len(p) for p in packed], np.frombuffer(b"".join(packed), np.uint8)
    results = []
    for method in (inflate.METHODS["libdeflate"], inflate.METHODS["zlib"]):
        out = np.zeros((CHUNKS, 16000), np.uint8)
        try:
            method(joined, sizes, out)
            results.append(out.tobytes())
        except ValueError:
            results.append(b"broken")
    assert results[0] == results[1]


def test_where_a_compiler_is_the_loops_were_compiled():
    # scripts/test installs the package where a compiler is.
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    assert LOOPS, "install the package again: pip install -e ."


@pytest.mark.skipif(inflate.inflater() is None, reason="libdeflate is not here")
def test_what_a_thread_inflates_with_is_freed_with_the_thread():
    freed, packed = [], zlib.compress(bytes(1000))
    free = inflate._libdeflate.libdeflate_free_decompressor

    def work():
        own = inflate.inflater()
        own.free = lambda decompressor: freed.append(decompressor) or free(decompressor)
        inflate.inflate_chunks(np.frombuffer(packed, np.uint8), [len(packed)], np.zeros((1, 1000), np.uint8))
        assert inflate.inflater() is own

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for number in range(1200):
        if number == 200:
            before = resident()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(freed) == 1200
    # A decompressor has 11 kB.
    assert resident() - before < 3e6
