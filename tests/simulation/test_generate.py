"""Files of simulated events."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, SimulateConfig, TruthConfig
from cosmictagger_tf.console import log_lines
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.detector import COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import HOST
from cosmictagger_tf.simulation.compare import labels_at_the_image, read_events, table
from cosmictagger_tf.simulation.cosmics import MUON, PROTON
from cosmictagger_tf.simulation.generate import simulate_event, simulate_file
from cosmictagger_tf.simulation.measures import close_to, edge_measures, measures, run_lengths
from tests.commands import ROOT, refusal, run_module


def simulated(path, **options):
    config = SimulateConfig(output=str(path), **{"events": 5, **options})
    simulate_file(config)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("simulated") / "one.h5")


def test_the_file_does_not_depend_on_the_workers(file, tmp_path):
    assert simulated(tmp_path / "three.h5", workers=3).read_bytes() == file.read_bytes()


def test_more_events_begin_with_the_same(file):
    event = simulate_event(1, 3).event
    there = LarcvFile(file, "sbndwire", "sbnd_cosmicseg").read(3)
    for a, b in zip(event.image, there.image, strict=True):
        assert np.array_equal(a.values, b.values) and np.array_equal(a.rows, b.rows)


def test_the_seed_changes_the_events():
    assert len({simulate_event(seed, 0).event.image[2].values.tobytes() for seed in (1, 2)}) == 2


def test_images_and_labels_are_sound(file):
    reader = LarcvFile(file, "sbndwire", "sbnd_cosmicseg")
    seen = set()
    for entry in range(5):
        event = reader.read(entry)
        for plane, (image, label) in enumerate(zip(event.image, event.label, strict=True)):
            assert image.values.min() >= 5.0 and np.isfinite(image.values).all()
            assert np.array_equal(image.rows, label.rows) and np.array_equal(image.columns, label.columns)
            assert set(np.unique(label.values)) <= {0.0, 1.0, 2.0}
            seen |= set(np.unique(label.values))
            low, high = ((31, 2016), (31, 2016), (191, 1856))[plane]
            assert low <= image.columns.min() and image.columns.max() <= high
    assert seen == {0.0, 1.0, 2.0}


def test_the_particle_product_tells_flavour_current_energy_and_vertex(file):
    with h5py.File(file) as opened:
        group = opened["/Data/particle_sbndneutrino_group"]
        for first, count in group["extents"][:]:
            rows = group["particles"][first : first + count]
            assert abs(rows["pdg"][0]) in (12, 14) and rows["current_type"][0] in (0, 1)
            assert 0.2 < rows["energy_init"][0] < 20 and count >= 2
            # What leaves carries no more than the neutrino brought, but for the nucleons' own masses.
            leptons = np.isin(np.abs(rows["pdg"][1:]), (11, 12, 13, 14))
            assert rows["energy_init"][1:][leptons].sum() < rows["energy_init"][0]
            assert np.all(np.abs([rows["vtx"][0][axis] for axis in "xy"]) <= 200) and 0 <= rows["vtx"][0]["z"] <= 500


def test_many_neutrinos_or_none(tmp_path):
    pixels = {}
    for interactions in (0, 1, 4):
        path = simulated(tmp_path / f"{interactions}.h5", events=2, neutrinos=interactions)
        events = [LarcvFile(path, "sbndwire", "sbnd_cosmicseg").read(entry) for entry in range(2)]
        labels = np.concatenate([plane.values for event in events for plane in event.label])
        pixels[interactions] = np.bincount(labels.astype(int), minlength=3)
        with h5py.File(path) as opened:
            group = opened["/Data/particle_sbndneutrino_group"]
            first, count = (int(group["extents"][1][name]) for name in ("first", "N"))
            rows = group["particles"][first : first + count]
            # A neutral current's neutrino leaves again; the incoming ones alone say what they did.
            assert (rows["interaction_type"] >= 0).sum() == interactions
    assert pixels[0][2] == 0 and pixels[0][1] > 10_000
    assert pixels[4][2] > 2 * pixels[1][2] > 0


# Of the pixels and particles of (seed, number, interactions, share of neutral currents), before there were vertices.
CHECKSUMS = {
    (1, 0, 1, 0.25): "5c5f65eb9795b2e6",
    (1, 1, 1, 0.25): "0752d2e9fc2848de",
    (7, 2, 3, 0.6): "29cda0462d36e1bf",
    (5, 0, 0, 0.25): "b24c46b6d2a1c3f8",
}


def checksum(one):
    total = hashlib.sha256()
    for pixels in (*one.event.image, *one.event.label):
        for column in (pixels.rows, pixels.columns, pixels.values):
            total.update(column.tobytes())
    total.update(one.particles.tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("which", CHECKSUMS)
def test_the_events_of_a_seed_stay_what_they_are(which):
    assert checksum(simulate_event(*which)) == CHECKSUMS[which]


@pytest.mark.parametrize("kernels", ["Prescott", "Haswell"])
def test_they_do_not_depend_on_the_processors_blas(kernels):
    code = (
        "from tests.simulation.test_generate import CHECKSUMS, checksum, simulate_event\n"
        "assert all(checksum(simulate_event(*which)) == known for which, known in CHECKSUMS.items())"
    )
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)


def test_a_share_without_a_neutrino_leaves_the_others_as_they_are():
    mixed = [simulate_event(4, number, cosmic_only=0.5) for number in range(6)]
    for number, one in enumerate(mixed):
        expected = simulate_event(4, number, interactions=1 if len(one.particles) else 0)
        assert checksum(one) == checksum(expected)
    assert 0 < sum(len(one.particles) == 0 for one in mixed) < 6
    assert all(len(one.event.truth.vertices) == len(one.event.truth.neutrinos) <= 1 for one in mixed)


def test_the_share_without_a_neutrino_is_the_one_that_was_asked_for():
    chosen = [len(simulate_event(9, number, cosmic_only=share).particles) for share in (0.0, 1.0) for number in (0, 1)]
    assert chosen[0] and chosen[1] and not chosen[2] and not chosen[3]


def protons(mean):
    """The pixels of stray protons in 12 events without a neutrino."""
    events = [simulate_event(5, number, interactions=0, stray_protons=mean) for number in range(12)]
    return sum(int((plane.values == PROTON).sum()) for one in events for plane in one.primary)


def test_stray_protons_are_as_many_as_asked_for():
    assert protons(0.0) == 0 and protons(4.0) > 3 * protons(0.5) > 0


def test_a_pixel_has_its_interaction_or_what_the_cosmic_ray_was(tmp_path):
    path = simulated(tmp_path / "many.h5", events=2, neutrinos=3)
    image = DataConfig(file=(str(path),))
    for entry in range(2):
        label = open_reader(image).read(entry).label
        interaction, primary = (
            open_reader(replace(image, producer_image=name)).read(entry).image
            for name in ("sbnd_interaction", "sbnd_cosmic_primary")
        )
        for plane, classes in enumerate(label):
            for pixels, which in ((interaction[plane], NEUTRINO), (primary[plane], COSMIC)):
                own = classes.values == which
                assert np.array_equal(pixels.rows, classes.rows[own])
                assert np.array_equal(pixels.columns, classes.columns[own])
                assert set(np.unique(pixels.values)) <= {1.0, 2.0, 3.0}
        numbers = np.concatenate([pixels.values for pixels in interaction])
        assert len(np.unique(numbers)) > 1 and (np.concatenate([p.values for p in primary]) == MUON).mean() > 0.5


def test_the_vertex_of_an_interaction_is_among_its_pixels(tmp_path):
    path = simulated(tmp_path / "many.h5", events=3, neutrinos=2)
    config = DataConfig(file=(str(path),))
    near = []
    for entry in range(3):
        truth = open_reader(config, TruthConfig()).read(entry).truth
        assert truth.vertices.shape == (2, 3, 2) and [n.current for n in truth.neutrinos]
        pixels = open_reader(replace(config, producer_image="sbnd_interaction")).read(entry).image
        for number, places in enumerate(truth.vertices, start=1):
            for plane, (row, column) in zip(pixels, places, strict=True):
                own = plane.values == number
                if own.sum() > 20:
                    near.append(np.hypot(plane.rows[own] + 0.5 - row, plane.columns[own] + 0.5 - column).min())
    # Photons convert, and neutrons scatter, away from it.
    assert len(near) > 8 and np.median(near) < 3


def test_an_existing_file_is_kept(file):
    with pytest.raises(ConfigError, match="exists already"):
        simulated(file)


def runs(process):
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_text())  # Empty: ended, and not yet waited for.
    except FileNotFoundError:
        return False


def test_a_killed_simulation_leaves_no_workers_and_the_next_one_no_part_of_a_file(tmp_path):
    output = tmp_path / "file.h5"
    command = [sys.executable, "-m", "cosmictagger_tf.simulate", f"--output={output}", "--workers=2", "--events=500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(workers) == 2 and not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == [f".file.h5.{process.pid}@{HOST}.part"]
    until = time.monotonic() + 60
    while any(runs(worker) for worker in workers):
        assert time.monotonic() < until, "a worker of the killed simulation lives on"
        time.sleep(0.2)
    others = tmp_path / ".file.h5.1.part"
    others.touch()
    simulated(output, events=1)
    # That of a process which runs is left alone.
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "file.h5"]


def test_who_reads_no_more_of_the_log_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def write(text):
        raise BrokenPipeError

    monkeypatch.setattr(sys.stdout, "write", write)
    with pytest.raises(BrokenPipeError), log_lines(0):
        simulate_file(SimulateConfig(output=str(tmp_path / "file.h5"), events=1))


def test_small_and_dim_neutrinos_occur():
    pixels = [sum(int((p.values == 2).sum()) for p in simulate_event(3, n).event.label) for n in range(16)]
    assert min(pixels) < 1000 < max(pixels)


def test_run_lengths():
    # A column-major picture of two columns of 4: runs do not go over the end of a column.
    numbers = np.array([2, 3, 4, 6, 7])
    assert run_lengths(numbers, numbers % 4).tolist() == [2, 2, 1, 2, 2]
    assert run_lengths(numbers[::-1], numbers[::-1] % 4).tolist() == [2, 2, 1, 2, 2]


def test_close_to_looks_at_the_neighbourhood():
    marked = np.zeros((40, 10), np.uint8)
    marked[20, 5] = 1
    rows, columns = np.array([20, 25, 26, 20, 20]), np.array([5, 5, 5, 6, 7])
    assert close_to(marked, rows, columns).tolist() == [True, True, False, True, False]


def test_edges_of_pulses_by_their_share_of_the_next_pixel():
    # Along time 5, 50, 40 and, on another wire at the image's end, 30, 45, 10; only the 5 is background.
    rows, columns = np.array([3, 4, 5, 7, 8, 9]), np.array([1, 1, 1, 2, 2, 2])
    image = PlanePixels(rows, columns, np.array([5, 50, 40, 30, 45, 10], np.float32))
    shares = dict(edge_measures(image, image.values > 5, ImageShape(1, 10, 4)))
    assert shares == {
        "pulse edges of 0 to 0.2, labelled": 0.0,
        "pulse edges of 0.2 to 0.4, labelled": 1.0,
        "pulse edges of 0.6 to 1, labelled": 1.0,
    }


def test_the_table_compares_means():
    lines = table([{"a": 2.0}, {"a": 4.0}], [{"a": 6.0, "b": 1.0}, {"a": 6.0}])
    assert len(lines) == 2 and "2.00" in lines[1] and "3.00 +- 1.00" in lines[1] and "6.00 +- 0.00" in lines[1]


def test_compare_prints_and_draws(file, tmp_path):
    picture = tmp_path / "folder" / "comparison.png"
    shown = run_module("simulate", f"--compare={file}", "--events=2", f"--comparison_picture={picture}").stdout
    # The same seed: file and simulation are the same events.
    ratios = [line.split()[-2] for line in shown.splitlines() if line.startswith("plane")]
    assert len(ratios) > 100 and set(ratios) == {"1.00"}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_labels_on_other_pixels_than_the_images_are_compared_at_the_images(file, tmp_path):
    # As some productions have them: background is not stored, or where a truth has no charge, it is.
    shutil.copy(file, tmp_path / "other.h5")
    expected = [labels_at_the_image(event) for event in read_events(str(file), 2)]
    with h5py.File(tmp_path / "other.h5", "a") as other:
        label = other["Data/sparse2d_sbnd_cosmicseg_group/voxels"]
        voxels = label[...]
        background = np.flatnonzero(voxels["value"] == 0)
        # Of the first background pixels, the labels move to a pixel that no image has.
        voxels["id"][background[:3]] = [0, 1, 2]
        label[...] = voxels
    events = read_events(str(tmp_path / "other.h5"), 2)
    for event, labels in zip(events, expected, strict=True):
        for plane, label, before in zip(event.image, event.label, labels, strict=True):
            np.testing.assert_array_equal(label.values, before.values)
            np.testing.assert_array_equal(label.rows, plane.rows)
    measures(events[0])


def test_mistakes_are_one_line(file, tmp_path):
    assert "exists already" in refusal("simulate", f"--output={file}", "--events=1")
    assert "cannot be written" in refusal("simulate", f"--output={file}/inside.h5", "--events=1")
    assert "no_such.h5" in refusal("simulate", f"--compare={tmp_path}/no_such.h5")
    assert "must end in .png" in refusal("simulate", "--comparison_picture=a.pdf")
    unlabelled = tmp_path / "unlabelled.h5"
    unlabelled.write_bytes(file.read_bytes())
    with h5py.File(unlabelled, "a") as opened:
        del opened["/Data/sparse2d_sbnd_cosmicseg_group"]
    assert "has no labels" in refusal("simulate", f"--compare={unlabelled}", "--events=1")


@pytest.mark.slow
def test_events_look_like_the_sample(sample_file):
    """What the networks see most of agrees with the real sample: see docs/simulation.md for the whole table."""
    real = [measures(event) for event in read_events(str(sample_file), 3)]
    made = [measures(simulate_event(11, number).event) for number in range(30)]
    bounds = {
        "background pixels": 0.35,
        "cosmic pixels": 0.45,
        "cosmic ADC 50 %": 0.3,
        "cosmic active neighbours of 8": 0.06,
        "background run along time": 0.3,
        "fringe pixels per particle pixel": 0.6,
        "pulse edges of 0.6 to 1, labelled": 0.05,
    }
    for plane in range(3):
        for name, bound in bounds.items():
            a, b = (np.mean([m[f"plane {plane}: {name}"] for m in values]) for values in (real, made))
            assert b == pytest.approx(a, rel=bound), f"plane {plane}: {name}"
    for level in range(7):
        a, b = (np.mean([m[f"active sites at downsampling {level}"] for m in values]) for values in (real, made))
        assert b == pytest.approx(a, rel=0.2), f"downsampling {level}"
