"""Inflating chunks: every method gives the same, and finds what is broken."""

import shutil
import threading
import zlib

import numpy as np
import pytest

from cosmictagger_tf.data import inflate

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


def test_a_compiler_gives_the_quickest_method():
    # scripts/test installs the package where a compiler is: the loop must have been compiled then.
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    assert inflate.METHOD == "libdeflate, all chunks in one call", "install the package again: pip install -e ."
