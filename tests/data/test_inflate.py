"""Inflating chunks: every method gives the same, and finds what is broken."""

import ctypes
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
from cosmictagger_tf.data.loops import ABREAST, LOOPS, Inflater, address

LENGTH = 4000
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


def inflated_by_loops(packed: list[bytes], length: int) -> tuple[np.ndarray, int]:
    """What inflate_chunks of loops.c makes of chunks, and how many of them it left to libdeflate."""
    left = []
    decompress = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t] * 2)

    def libdeflate(decompressor, data, size, out, room, _):
        left.append(size)
        return inflate._libdeflate.libdeflate_zlib_decompress(decompressor, data, size, out, room, None)

    own = inflate.inflater()
    asked = decompress(libdeflate)
    spied = Inflater(ctypes.cast(asked, ctypes.c_void_p).value, own.decompressor, own.adler32)
    data, out = np.frombuffer(b"".join(packed), np.uint8), np.zeros((len(packed), length), np.uint8)
    sizes = np.array([len(p) for p in packed], np.uintp)
    status = LOOPS.inflate_chunks(spied, address(data), address(sizes), len(sizes), address(out), length)
    assert not status
    return out, len(left)


needs_loops = pytest.mark.skipif(
    not LOOPS or not inflate.inflater(), reason="loops.c was not compiled, or libdeflate is not installed"
)


@needs_loops
@pytest.mark.parametrize("labels", [False, True])
def test_voxels_are_inflated_abreast(labels):
    whole = [voxel_table(seed, labels) for seed in range(2 * ABREAST + 1)]
    for level in (1, 4, 6, 9):
        out, left = inflated_by_loops([zlib.compress(table.tobytes(), level) for table in whole], len(whole[0]))
        assert np.array_equal(out, whole)
        # The last one is alone.
        assert left == 1


@needs_loops
def test_what_is_unusual_is_left_to_libdeflate():
    table = voxel_table(0, labels=False).tobytes()
    usual, stored = zlib.compress(table), zlib.compress(table, 0)
    compressor = zlib.compressobj(strategy=zlib.Z_FIXED)
    fixed = compressor.compress(table) + compressor.flush()
    compressor = zlib.compressobj()
    two_blocks = compressor.compress(table[:7000]) + compressor.flush(zlib.Z_FULL_FLUSH)
    two_blocks += compressor.compress(table[7000:]) + compressor.flush()
    for unusual in (stored, fixed, two_blocks):
        for place in range(ABREAST):
            chunks = [unusual if i == place else usual for i in range(ABREAST)]
            out, left = inflated_by_loops(chunks, len(table))
            assert left == ABREAST and all(row.tobytes() == table for row in out)


@needs_loops
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_chunks_are_refused_or_right(data):
    """Whatever is done to chunks, the loops say of them what zlib says."""
    packed = [bytearray(zlib.compress(voxel_table(i, data.draw(st.booleans())).tobytes())) for i in range(ABREAST)]
    for _ in range(data.draw(st.integers(1, 3))):
        chunk = packed[data.draw(st.integers(0, ABREAST - 1))]
        # Mostly where the codes are, at the beginning.
        at = data.draw(st.integers(0, min(len(chunk), 120) - 1) | st.integers(0, len(chunk) - 1))
        if data.draw(st.integers(0, 9)):
            chunk[at] = data.draw(st.integers(0, 255))
        else:
            del chunk[max(at, 1) :]
    sizes, joined = [len(p) for p in packed], np.frombuffer(b"".join(packed), np.uint8)
    found = []
    for method in (inflate.METHODS["several chunks abreast"], inflate.METHODS["zlib"]):
        out = np.zeros((ABREAST, 16000), np.uint8)
        try:
            method(joined, sizes, out)
            found.append(out.tobytes())
        except ValueError:
            found.append(b"broken")
    assert found[0] == found[1]


def test_a_compiler_gives_the_quickest_method():
    # scripts/test installs the package where a compiler is: the loop must have been compiled then.
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    assert inflate.METHOD == "several chunks abreast", "install the package again: pip install -e ."


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
