"""The benchmark, as a user calls it: any flagfile, real and synthetic data, a table and a file."""

import importlib.util
import json
import re

import pytest

from tests.commands import run_module

SMALL = ["--n_initial_filters=2", "--network_depth=3", "--blocks_per_layer=0", "--blocks_deepest_layer=0"]
SMALL += ["--blocks_final=0", "--bottleneck_deepest=4", "--noxla", "--repeats=2", "--reading_steps=2"]
HEADS = ["--head_design=sites", "--event_head", "--event_filters=2", "--event_blocks=1", "--vertex_head"]
HEADS += ["--vertex_filters=2", "--vertex_blocks=1", "--vertex_depth=1"]


def rows_of(path) -> dict[tuple, dict]:
    record = json.loads(path.read_text())
    assert record["machine"]["cores"] >= 1 and record["machine"]["tensorflow"] and record["limits"]["gflops"] > 1
    return {(row["what"], row["batch"]): row for row in record["rows"]}


@pytest.mark.slow
def test_a_jobs_flagfile_on_synthetic_data(tmp_path):
    path = tmp_path / "benchmark.json"
    flags = ["--flagfile=flags/quick.flags", *SMALL, "--synthetic", "--downsample=5", "--batch_sizes=1,2"]
    out = run_module("benchmark", *flags, f"--json={path}").stdout
    rows = rows_of(path)
    for size in (1, 2):
        for what in ("forward", "training step", "training with reading"):
            row = rows[what, size]
            assert 0 < row["fastest_s"] <= row["median_s"] <= row["slowest_s"] and row["cpu_s"] > 0
            assert f"batch {size:<4} {what} " in out
        assert rows["reading alone", size]["images_per_second"] > 0
        assert 0 < rows["training step: operations", size]["share_of_limit"] < 2
        assert 0 <= rows["training with reading", size]["waiting"] < 1
    assert 0.3 < rows["peak memory", 2]["gigabytes"] < 20
    assert rows["training step: operations", 2]["gflop"] == pytest.approx(
        2 * rows["training step: operations", 1]["gflop"], rel=0.01
    )
    configuration = json.loads(path.read_text())["configuration"]
    assert configuration["network"]["n_initial_filters"] == 2 and configuration["data"]["downsample"] == 5


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("heads", [[], HEADS], ids=["pixels_alone", "with_heads"])
def test_a_sparse_network_against_its_products_and_dense_ones(tmp_path, three_events, heads):
    path = tmp_path / "benchmark.json"
    flags = [
        "--preset=sparse",
        *heads,
        *SMALL,
        "--row_exchange=1",
        f"--file={three_events}",
        "--downsample=3",
        "--batch_sizes=1,5",
        "--sites=2000,5000",
    ]
    flags += ["--most_trained_sites=3000", "--dense_modes=2D", "--dense_downsample=5"]
    out = run_module("benchmark", *flags, f"--json={path}").stdout
    rows = rows_of(path)
    assert rows["forward: its matrix products", 1]["ratio"] > 0.5
    sites = rows["sites of each level", 1]["sites"]
    assert len(sites) == 4 and sorted(sites, reverse=True) == sites and sites[-1] == 3 * 20 * 32
    assert ("rulebook", 1) in rows and ("reading alone", 1) in rows
    assert "batch 5    reading: left out, the data have 3 entries only" in out and ("reading alone", 5) not in rows
    # The file decides the exact numbers.
    what = {re.sub(r"\d+(?= sites)", lambda number: str(round(int(number[0]), -1)), name) for name, _ in rows}
    assert "training step of 2000 sites" in what and "forward of 5000 sites" in what
    assert "training step of 5000 sites" not in what
    assert rows["forward of 2D at downsample 5", 1]["scaled_by_pixels"] == 16


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("network", [["--preset=a21"], ["--preset=sparse"]], ids=["a21", "sparse"])
def test_jax_measures_the_same_network(tmp_path, network):
    pytest.importorskip("jax")
    flags = [*network, *SMALL, "--network_depth=1", "--xla", "--synthetic", "--downsample=5"]
    records = {}
    backends = ["tensorflow", "jax", *(["torch"] if importlib.util.find_spec("torch") else [])]
    for backend in backends:
        path = tmp_path / f"{backend}.json"
        more = ["--reading_steps=0", f"--json={path}"]
        run_module("benchmark", *flags, *more, KERAS_BACKEND=backend)
        records[backend] = json.loads(path.read_text())
        assert records[backend]["machine"]["backend"] == backend
    rows = {backend: {row["what"]: row for row in what["rows"]} for backend, what in records.items()}
    for backend in backends[1:]:
        assert rows[backend].keys() == rows["tensorflow"].keys()
        assert rows[backend]["training step"]["fastest_s"] > 0
    if "training step: operations" in rows["jax"]:
        counts = [rows[backend]["training step: operations"]["gflop"] for backend in ("tensorflow", "jax")]
        assert counts[1] == pytest.approx(counts[0], rel=0.1)
    else:
        assert rows["jax"]["sites of each level"] == rows["tensorflow"]["sites of each level"]


def test_jax_always_compiles(tmp_path):
    pytest.importorskip("jax")
    flags = ["--synthetic", "--downsample=5", *SMALL]
    done = run_module("benchmark", *flags, check=False, KERAS_BACKEND="jax")
    assert (
        done.returncode == 2 and "--noxla: KERAS_BACKEND=jax compiles with XLA always" in done.stderr.splitlines()[-1]
    )


def test_jax_does_not_recompute_the_sparse_network():
    pytest.importorskip("jax")
    flags = ["--synthetic", "--downsample=5", *SMALL, "--preset=sparse", "--remat", "--xla"]
    done = run_module("benchmark", *flags, check=False, KERAS_BACKEND="jax")
    assert (
        done.returncode == 2
        and "--remat: KERAS_BACKEND=jax does not recompute in the sparse network" in done.stderr.splitlines()[-1]
    ), done.stderr


def test_mistakes_get_one_line():
    for flags, message in (
        (["--iterations=5"], "iterations"),
        (["--batch_sizes=0"], "--batch_sizes: '0' is no number of 1 or more"),
        (["--dense_modes=4D"], "--dense_modes=4D: must be 2D or 3D"),
        (["--downsample=4"], "--downsample=4 and --network_depth=6: the image would be halved 10 times"),
        (["--downsample=0", "--dense_modes=2D", "--dense_downsample=3"], "--dense_downsample=3 and --network_depth=6"),
    ):
        done = run_module("benchmark", "--synthetic", *flags, check=False)
        assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
