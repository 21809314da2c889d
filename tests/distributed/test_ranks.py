"""What two ranks exchange, and that they train one network."""

import csv
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.commands import ROOT, checkpoint_arrays, run_module
from tests.distributed.launching import (
    GLOO,
    HERE,
    MPI,
    QUICK,
    command,
    needs_horovod,
    needs_mpi,
    package_lines,
    run_ranks,
    unmarked,
)

pytestmark = [pytest.mark.slow, pytest.mark.horovod, needs_horovod]


def test_from_inside(tmp_path):
    """The checks of worker.py, on both ranks."""
    words = [*GLOO, "-np", "2", sys.executable, str(HERE / "worker.py"), str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, timeout=400, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    names = ("collectives", "exchange", "entries", "synchronised", "blame", "callback")
    assert {p.name for p in tmp_path.iterdir()} == {f"check_{name}.{rank}" for name in names for rank in (0, 1)}


def rows(folder):
    speed = ("images_per_second", "waiting", "exchanging")
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in line.items() if k not in speed} for line in csv.DictReader(file)]


@pytest.fixture(scope="module")
def runs(three_events, tmp_path_factory):
    """The same training, of four events a step, by one rank, by two (horovodrun, XLA) and by four (mpirun)."""
    folder = tmp_path_factory.mktemp("runs")
    flags = [
        *QUICK,
        f"--file={three_events},{three_events}",
        f"--aux_file={three_events},{three_events}",
        "--aux_iterations=2",
        "--iterations=4",
    ]
    flags += ["--blocks_per_layer=0", "--blocks_deepest_layer=0"]
    flags += ["--normalization=none", "--optimizer=sgd", "--checkpoint_iteration=3", "--logging_iteration=2"]
    flags += ["--summary_iteration=2", f"--output_dir={folder}", "--clip_norm=1.0", "--aux_epochs=100"]
    run_module("train", *flags, "--run_id=one")
    done = run_ranks(GLOO, 2, "train", *flags, "--run_id=two", "--xla")
    assert done.stdout.count("result: ") == 1 and done.stdout.count("train 4/4") == 1
    return folder, flags


def assert_alike(folder, one, other, records=5):
    a, b = checkpoint_arrays(folder / one, 4), checkpoint_arrays(folder / other, 4)
    assert a.keys() == b.keys() and len(a) > 20
    for name, array in a.items():
        np.testing.assert_allclose(b[name], array, atol=1e-6, rtol=1e-6, err_msg=name)
    pairs = list(zip(rows(folder / one), rows(folder / other), strict=True))
    assert len(pairs) >= records
    for first, second in pairs:
        for name, value in first.items():
            # A pixel between two classes may fall to either; one is 1e-4 of an image's plane here.
            assert value == second[name] or float(second[name]) == pytest.approx(float(value), abs=1e-4), name


def test_two_ranks_train_what_one_does(runs):
    folder, _ = runs
    assert_alike(folder, "one", "two")
    assert json.loads((folder / "two/run.json").read_text())["ranks"] == 2


HEADS = ["--network_depth=2", "--event_head", "--event_filters=2", "--event_blocks=1", "--noevent_detach"]
HEADS += ["--vertex_head", "--vertex_filters=2", "--vertex_blocks=1", "--vertex_depth=1", "--novertex_detach"]


@pytest.mark.parametrize(
    "form",
    [
        ["--conv_mode=sparse", "--head_design=sites", "--event_joins_pixels", "--normalise_charge"],
        pytest.param(["--conv_mode=2D"], marks=pytest.mark.exhaustive),
    ],
    ids=["sparse_sites", "2D"],
)
def test_two_ranks_train_heads_as_one_does(simulated_file, tmp_path, form):
    # Ten events, four a batch: the last one of a validation is partial, and the shares of two ranks are unequal.
    flags = [*QUICK, *HEADS, *form, f"--file={simulated_file}", f"--aux_file={simulated_file}", "--iterations=4"]
    flags += ["--blocks_per_layer=0", "--blocks_deepest_layer=0", "--normalization=none", "--optimizer=sgd"]
    flags += ["--logging_iteration=2", "--aux_epochs=100", "--event_loss_weight=1", f"--output_dir={tmp_path}"]
    run_module("train", *flags, "--run_id=one")
    run_ranks(GLOO, 2, "train", *flags, "--run_id=two")
    assert_alike(tmp_path, "one", "two", records=3)
    for record in rows(tmp_path / "two"):
        if record["split"] == "train":
            counts = [float(value) for name, value in record.items() if name.startswith("event_counts/")]
            assert len(counts) == 16 and 0 < sum(counts) <= 8 and float(record["vertex_distance"]) > 0


@needs_mpi
@pytest.mark.exhaustive
def test_four_ranks_of_mpirun_train_what_one_does(runs):
    folder, flags = runs
    run_ranks(MPI, 4, "train", *flags, "--run_id=four")
    assert_alike(folder, "one", "four")


def test_evaluate_gives_the_same_table(runs, three_events):
    folder, _ = runs
    flags = [f"--output_dir={folder}", "--run_id=one", f"--file={three_events}", "--noxla", "--nohtml"]
    alone = run_module("evaluate", *flags, "--minibatch_size=2").stdout
    # Three events: the ranks' shares are unequal.
    launcher = MPI if shutil.which("mpirun") else GLOO
    together = run_ranks(launcher, 2, "evaluate", *flags, "--minibatch_size=2").stdout
    assert [unmarked(line) for line in together.splitlines()] == alone.splitlines()
    assert "3 events" in alone


def test_what_ranks_validate_is_what_is_saved(three_events, tmp_path):
    # Each rank moves the statistics of the normalisation by its own events.
    flags = [*QUICK, f"--file={three_events},{three_events}", f"--aux_file={three_events}", "--aux_minibatch_size=2"]
    flags += ["--iterations=6", "--aux_epochs=100", f"--output_dir={tmp_path}", "--learning_rate=0.01"]
    run_ranks(GLOO, 2, "train", *flags, "--run_id=two")
    (validated,) = [row for row in rows(tmp_path / "two") if row["split"] == "whole_validation"]
    report = [f"--report={tmp_path}/evaluation.html", "--nohtml", "--noxla", "--minibatch_size=1"]
    run_module("evaluate", f"--output_dir={tmp_path}", "--run_id=two", f"--file={three_events}", *report)
    metrics = json.loads((tmp_path / "evaluation.json").read_text())["metrics"]
    for name in ("loss", "mean_iou", "cosmic_iou", "nonbackground_accuracy"):
        assert metrics[name] == pytest.approx(float(validated[name]), rel=1e-5), name


@needs_mpi
@pytest.mark.parametrize("name", ["evaluate", pytest.param("predict", marks=pytest.mark.exhaustive)])
def test_ranks_whose_nodes_have_other_events_stop_in_one_line(runs, three_events, tmp_path, name):
    folder, _ = runs
    for rank in (0, 1):
        (tmp_path / f"node{rank}").mkdir()
        shutil.copy(three_events, tmp_path / f"node{rank}/same.h5")
    with h5py.File(tmp_path / "node1/same.h5", "r+") as file:
        ids = file["Events/event_id"][:]
        ids["event"] += 1
        file["Events/event_id"][:] = ids
    flags = [f"--output_dir={folder}", "--run_id=one", "--file=same.h5", "--noxla", "--minibatch_size=2"]
    place = f"--output={tmp_path}/scored.h5" if name == "predict" else f"--report={tmp_path}/report.html"
    on_its_node = 'cd "$0/node$OMPI_COMM_WORLD_RANK" && exec "$@"'
    words = [*MPI, "-np", "2", "bash", "-c", on_its_node, str(tmp_path), *command([], 2, name, *flags, place)[2:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode != 0
    lines = package_lines(done.stderr)
    assert len(lines) == 1 and "the ranks differ in " in lines[0] and "rank 1" in lines[0], done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("*.h*"))
