"""predict with a network that has heads: what its file and its table have of each readout, as a user gets it."""

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cosmictagger_tf.calibration.record import record_place, write_calibration
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import DataConfig, NetworkConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.pipeline import evaluation_dataset
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, ImageShape
from cosmictagger_tf.files import sha256
from cosmictagger_tf.inference.readouts import Readouts, read_out
from tests.commands import ROOT, TINY, refusal, run_module
from tests.data.larcv_tools import library_content, library_numbers
from tests.inference.conftest import same_content, scores_of

SMALL = {"event_head": True, "event_filters": 2, "event_blocks": 1}
SMALL |= {"vertex_head": True, "vertex_filters": 2, "vertex_blocks": 1, "vertex_depth": 0}
OF_TINY = {"n_initial_filters": 2, "network_depth": 1, "blocks_per_layer": 1, "blocks_deepest_layer": 1}
OF_TINY |= {"blocks_final": 1, "bottleneck_deepest": 8}
CONFIG = NetworkConfig(**OF_TINY, **SMALL)
FLAGS = [*TINY, "--noxla", *(f"--{name}" if value is True else f"--{name}={value}" for name, value in SMALL.items())]
DOWNSAMPLE = 4


def segmenter():
    """One whose weights are all drawn, the same every time, so that nothing of what it gives is alike everywhere."""
    import keras

    from cosmictagger_tf.networks.build import build_segmenter

    keras.utils.set_random_seed(3)
    built = build_segmenter(CONFIG, ImageShape().downsampled(DOWNSAMPLE))
    rng = np.random.default_rng(3)
    built.network.set_weights([w + 0.3 * rng.uniform(-1, 1, w.shape).astype(w.dtype) for w in built.network.weights])
    return built


@pytest.fixture(scope="module")
def network(made_once):
    """Flags that name a network with heads; no one trained it."""
    folder = made_once("with_heads", lambda folder: segmenter().network.save_weights(folder / "heads.weights.h5"))
    return [*FLAGS, f"--weights_location={folder}/heads.weights.h5"]


@pytest.fixture(scope="module")
def predicted(network, simulated_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readouts")
    flags = [f"--file={simulated_file}", f"--output={folder}/out.h5", f"--table={folder}/out.csv", "--clean"]
    done = run_module("predict", *network, *flags)
    assert done.stdout.splitlines()[-2:] == [f"written: {folder}/out.csv", f"written: {folder}/out.h5 (10 events)"]
    return folder


@pytest.fixture(scope="module")
def expected(simulated_file):
    """What the heads tell, out of the network itself."""
    from keras import ops

    built, data = segmenter(), DataConfig(file=(str(simulated_file),), downsample=DOWNSAMPLE)
    reader = open_reader(data)
    predicted = []
    for batch in evaluation_dataset(reader, data, 0, 1).generate():
        _, heads = built.pixel_outputs(batch)
        predicted.append(
            read_out({name: ops.convert_to_numpy(output) for name, output in heads.items()}, reader.shape, 2)
        )
    return Readouts.join(predicted)


def table_of(path):
    """The columns of a table: floats, and text where it is none."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    columns = {name: [line[name] for line in lines] for name in lines[0]}
    text = {"called_class"}
    return {
        name: values if name in text else np.array([float(value or "nan") for value in values])
        for name, values in columns.items()
    }


def test_the_table_has_what_the_heads_tell(predicted, expected):
    table = table_of(predicted / "out.csv")
    assert table["entry"].tolist() == list(range(10)) and table["event"].tolist() == list(range(10))
    assert table["called_class"] == [EVENT_CLASS_NAMES[number] for number in expected.classes]
    probabilities = np.stack([table[f"probability/{name}"] for name in EVENT_CLASS_NAMES], axis=1)
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=1e-4)
    np.testing.assert_allclose(table["probability/neutrino"], expected.has_neutrino, rtol=1e-4)
    for plane in range(3):
        for axis, name in enumerate(("vertex_row", "vertex_column")):
            np.testing.assert_allclose(table[f"{name}/plane{plane}"], expected.vertices[:, plane, axis], rtol=1e-3)
        np.testing.assert_allclose(table[f"vertex_score/plane{plane}"], expected.scores[:, plane], rtol=1e-4)
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(table[f"vertex_{name}_cm"], expected.points[:, axis], atol=0.1)
        variances = expected.covariances[:, axis, axis]
        np.testing.assert_allclose(table[f"vertex_covariance_{name}{name}_cm2"], variances, rtol=1e-4)
    np.testing.assert_allclose(table["vertex_agreement"], expected.agreement, atol=1e-2)
    assert np.isfinite(expected.points).any() and len(np.unique(expected.vertices[:, 0, 0])) > 5


def test_the_file_has_the_same_beside_the_scores(predicted, simulated_file):
    table = table_of(predicted / "out.csv")
    with h5py.File(simulated_file) as before, h5py.File(predicted / "out.h5") as after:
        added = {name.removesuffix("_group") for name in set(after["Data"]) - set(before["Data"])}
        numbers = after["Data/tensor1d_event_prediction_group/images"][:].reshape(10, 4)
        particles = after["Data/particle_vertex_prediction_group/particles"][:]
    assert added == {
        *(f"sparse2d_{name}" for name in ("neutrino_prediction", "cosmic_prediction", "cleaned_image")),
        *(f"{kind}_vertex_prediction" for kind in ("bbox2d", "particle", "tensor1d")),
        "tensor1d_event_prediction",
    }
    for c, name in enumerate(EVENT_CLASS_NAMES):
        np.testing.assert_array_equal(numbers[:, c], np.float32(table[f"probability/{name}"]))
    there = np.isfinite(table["vertex_x_cm"])
    for axis in "xyz":
        np.testing.assert_allclose(particles["vtx"][axis], table[f"vertex_{axis}_cm"][there], rtol=1e-12)
    truth = TruthConfig(producer_particle="", producer_vertex="vertex_prediction")
    reader = open_reader(DataConfig(file=(str(predicted / "out.h5"),)), truth)
    for entry in range(10):
        (vertices,) = reader.read(entry).truth.vertices
        for plane in range(3):
            place = [table[f"vertex_{axis}/plane{plane}"][entry] for axis in ("row", "column")]
            np.testing.assert_allclose(vertices[plane], place, rtol=1e-12)
    reader.close()


def test_the_cleaned_image_has_the_pixels_whose_greatest_score_is_the_neutrinos(predicted, simulated_file):
    left = 0
    for entry in (0, 7):
        (image, neutrino, cosmic, cleaned) = (
            scores_of(predicted / "out.h5", entry, producer)
            for producer in ("sbndwire", "neutrino_prediction", "cosmic_prediction", "cleaned_image")
        )
        for plane in range(3):
            n, c = neutrino[plane].values, cosmic[plane].values
            stays = (n > c) & (n > 1 - n - c)
            for name in ("rows", "columns", "values"):
                np.testing.assert_array_equal(getattr(cleaned[plane], name), getattr(image[plane], name)[stays])
            left += stays.sum()
    assert left > 0


@pytest.mark.larcv
def test_the_larcv_library_reads_all_of_it(predicted):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    table = table_of(predicted / "out.csv")
    for entry in (0, 9):
        content = library_content(predicted / "out.h5", entry)
        assert ("sparse2d", "cleaned_image") in content
        assert len(content["bbox2d", "vertex_prediction"]) == 3
        for plane, (_, boxes) in enumerate(content["bbox2d", "vertex_prediction"]):
            (box,) = boxes
            centre = re.match(r"Centroid: \(([\d.e+-]+),([\d.e+-]+)\)", box).groups()
            place = [table[f"vertex_{axis}/plane{plane}"][entry] for axis in ("column", "row")]
            np.testing.assert_allclose([float(number) for number in centre], place, rtol=1e-5)
        for particle in content["particle", "vertex_prediction"]:
            vertex = re.search(r"Vertex .*= \((.*)\)", particle)[1].split(",")[:3]
            point = [table[f"vertex_{axis}_cm"][entry] for axis in "xyz"]
            np.testing.assert_allclose([float(number) for number in vertex], point, rtol=1e-5)
        assert len(content["particle", "vertex_prediction"]) == np.isfinite(table["vertex_x_cm"][entry])
        ((_, probabilities),) = library_numbers(predicted / "out.h5", entry, "event_prediction")
        expected = [table[f"probability/{name}"][entry] for name in EVENT_CLASS_NAMES]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
        (_, scores), (_, covariance), (_, agreement) = library_numbers(predicted / "out.h5", entry, "vertex_prediction")
        np.testing.assert_allclose(scores, [table[f"vertex_score/plane{p}"][entry] for p in range(3)], rtol=1e-6)
        covariance = covariance.reshape(3, 3)
        np.testing.assert_allclose(covariance[0, 1], table["vertex_covariance_xy_cm2"][entry], rtol=1e-6)
        np.testing.assert_array_equal(covariance, covariance.T)
        np.testing.assert_allclose(agreement, table["vertex_agreement"][entry], rtol=1e-6)


@pytest.mark.larcv
def test_the_program_of_the_page_reads_it(predicted, tmp_path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    shutil.copy(predicted / "out.h5", tmp_path / "scored.h5")
    (program,) = re.findall(r"```python\n(import larcv\n.*?)```", (ROOT / "docs/inference.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    table = table_of(predicted / "out.csv")
    *probabilities, x, _, _, error, agreement = map(float, re.findall(r"[\d.e+-]*\d[\d.e+-]*", done.stdout))
    expected = [*(table[f"probability/{name}"][0] for name in EVENT_CLASS_NAMES), table["vertex_x_cm"][0]]
    expected += [np.sqrt(table["vertex_covariance_xx_cm2"][0]), table["vertex_agreement"][0]]
    np.testing.assert_allclose([*probabilities, x, error, agreement], expected, rtol=1e-4)


def test_a_file_without_truth_gets_the_same(predicted, network, unlabelled_file, tmp_path):
    bare = tmp_path / "bare.h5"
    shutil.copy(unlabelled_file, bare)
    with h5py.File(bare, "a") as file:
        for name in [name for name in file["Data"] if name != "sparse2d_sbndwire_group"]:
            del file["Data"][name]
    flags = [f"--file={bare}", f"--output={tmp_path}/out.h5", f"--table={tmp_path}/out.csv", "--clean"]
    run_module("predict", *network, *flags)
    assert (tmp_path / "out.csv").read_bytes() == (predicted / "out.csv").read_bytes()
    shutil.copy(predicted / "out.h5", tmp_path / "whole.h5")
    with h5py.File(bare) as before, h5py.File(tmp_path / "whole.h5", "a") as file:
        kept = {"sparse2d_sbndwire_group", *(n for n in file["Data"] if "predict" in n or "cleaned" in n)}
        for name in set(file["Data"]) - kept:
            del file["Data"][name]
        assert set(before["Data"]) < kept
    same_content(tmp_path / "whole.h5", tmp_path / "out.h5")


def test_calibrated_weights_take_a_prior_and_their_working_point_empties_readouts(
    predicted, expected, network, simulated_file, tmp_path
):
    weights = tmp_path / "heads.weights.h5"
    shutil.copy(network[-1].partition("=")[2], weights)
    # Half of the readouts are below it.
    threshold = float(np.median(expected.has_neutrino))
    calibration = Calibration(training_prior=0.5, selection=WorkingPoint(event_probability=threshold))
    write_calibration(record_place(weights), calibration, sha256(weights), {})
    flags = [*network[:-1], f"--weights_location={weights}", f"--file={simulated_file}", "--prior=0.1", "--clean"]
    places = [f"--output={tmp_path}/out.h5", f"--table={tmp_path}/out.csv"]
    run_module("predict", *flags, *places, "--working_point=selection")
    table, before = table_of(tmp_path / "out.csv"), table_of(predicted / "out.csv")
    has = before["probability/neutrino"]
    # Bayes' rule, from an equal mixture.
    np.testing.assert_allclose(table["probability/neutrino"], 0.1 * has / (0.1 * has + 0.9 * (1 - has)), rtol=1e-9)
    assert set(table["called_class"]) == {"cosmic_only"}
    np.testing.assert_array_equal(table["vertex_x_cm"], before["vertex_x_cm"])
    # The working point is at equal priors, whatever the experiment's.
    left = [sum(map(len, scores_of(tmp_path / "out.h5", entry, "cleaned_image"))) for entry in range(10)]
    assert [pixels > 0 for pixels in left] == (has > threshold).tolist() and 0 < (has > threshold).sum() < 10


def test_what_a_network_cannot_tell_is_refused(run, network, simulated_file, tmp_path):
    flags = [f"--file={simulated_file}", f"--output={tmp_path}/out.h5"]
    assert "--prior: this network has no --event_head" in refusal("predict", *run, *flags, "--prior=0.1")
    line = refusal("predict", *run, *flags, "--producer_vertex_prediction=a")
    assert "--producer_vertex_prediction: this network has no --vertex_head" in line
    line = refusal("predict", *network, *flags, "--prior=0.1")
    assert "--prior=0.1: cannot be put in" in line and "leave it out" in line
    assert "must differ" in refusal("predict", *run, *flags, "--producer_cleaned_image=cosmic_prediction")
    assert "--table" in refusal("predict", *network, *flags, "--table=/proc/no/out.csv")
    line = refusal(
        "predict", *run, f"--file={simulated_file}", *(f"--{n}={tmp_path}/a.csv" for n in ("output", "table"))
    )
    assert "--table=" in line and "is the --output, too" in line
    assert not [*tmp_path.iterdir()]


def test_a_network_without_heads_has_a_table_of_its_pixels(run, simulated_file, tmp_path):
    flags = [f"--file={simulated_file}", f"--output={tmp_path}/out.h5", f"--table={tmp_path}/out.csv"]
    run_module("predict", *run, *flags, "--max_entries=3")
    table = table_of(tmp_path / "out.csv")
    per_plane = [f"{name}/plane{plane}" for plane in range(3) for name in ("predicted_neutrino_pixels", "mean_row")]
    assert list(table) == ["entry", "run", "subrun", "event", *per_plane] and len(table["entry"]) == 3


@pytest.fixture(scope="module")
def long_work(network, simulated_file, tmp_path_factory):
    """The flags of 80 events, so that a signal after the first part finds most of them left, and what they make."""
    flags = [*network, "--file=" + ",".join([str(simulated_file)] * 8), "--clean"]
    folder = tmp_path_factory.mktemp("long")
    run_module("predict", *flags, f"--output={folder}/out.h5", f"--table={folder}/out.csv")
    return flags, folder


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_file_and_table(long_work, tmp_path):
    flags, expected = long_work
    flags = [*flags, f"--output={tmp_path}/out.h5", f"--table={tmp_path}/out.csv"]
    command = [sys.executable, "-m", "cosmictagger_tf.predict", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / ".out.h5.work/part_000000.npz").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".out.h5.work"]
    assert "resumed: " in run_module("predict", *flags).stdout
    for name in ("out.h5", "out.csv"):
        assert (tmp_path / name).read_bytes() == (expected / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.h5"]


@pytest.mark.slow
@pytest.mark.horovod
def test_ranks_share_the_work_and_file_and_table_are_the_same(predicted, network, simulated_file, tmp_path):
    pytest.importorskip("horovod", reason="Horovod is not installed: scripts/install_horovod")
    launcher = [Path(sys.executable).parent / "horovodrun", "--gloo", "-np", "2"]
    flags = [f"--file={simulated_file}", f"--output={tmp_path}/out.h5", f"--table={tmp_path}/out.csv", "--clean"]
    command = [*launcher, sys.executable, "-m", "cosmictagger_tf.predict", *network, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("written: ") == 2
    for name in ("out.h5", "out.csv"):
        assert (tmp_path / name).read_bytes() == (predicted / name).read_bytes()
