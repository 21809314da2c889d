"""What ranks agree on before they work, with ranks that are threads: one line says what differs, and all stop."""

import json
import shutil
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from cosmictagger_tf import execution
from cosmictagger_tf.config import DataConfig, ExecutionConfig, NetworkConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.data.dataset import SyntheticReader, open_reader
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, DataError, StoppedElsewhere
from cosmictagger_tf.files import sha256
from cosmictagger_tf.inference import model_loading
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.runs import RunFolder, architecture
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.ranks import Ranks
from tests.distributed.threads import together

SMALL = NetworkConfig(
    n_initial_filters=2,
    network_depth=1,
    blocks_per_layer=1,
    blocks_deepest_layer=1,
    blocks_final=1,
    bottleneck_deepest=4,
)
SHAPE = ImageShape(planes=3, height=32, width=64)


def the_one_line(results):
    """The message of the one rank that says why all stop."""
    spoken = [r for r in results if isinstance(r, Exception) and not isinstance(r, StoppedElsewhere)]
    assert len(spoken) == 1 and isinstance(spoken[0], ConfigError), results
    assert all(isinstance(r, Exception) for r in results), "one rank goes on"
    return str(spoken[0])


def test_all_ranks_stop_where_one_meets_an_error():
    def job(ranks):
        with ranks.agreed():
            if ranks.rank == 2:
                raise DataError("file.h5", "is bad")
            # Others are waiting for it somewhere else.
            ranks.gather("a thing")
            ranks.same({"a": 1})
        raise AssertionError("goes on")

    results = together(job, 4)
    assert [type(r) for r in results] == [StoppedElsewhere, StoppedElsewhere, DataError, StoppedElsewhere]


def test_what_rank_0_decides_holds_on_all():
    def job(ranks):
        with ranks.agreed():
            return ranks.decided(lambda: {"step": 10 + ranks.rank})

    assert together(job, 3) == [{"step": 10}] * 3
    assert isinstance(together(lambda ranks: ranks.decided(lambda: 1 / 0), 1)[0], ZeroDivisionError)


def test_what_differs_is_named_with_its_values_and_ranks():
    def job(ranks):
        ranks.same({"--seed": 3, "--freeze": ("a", "b"), "--downsample": 2 if ranks.rank == 1 else 1})

    line = the_one_line(together(job, 3))
    assert "--downsample: 1 on ranks 0, 2 (" in line and "2 on rank 1 (" in line
    assert "--seed" not in line and "--freeze" not in line
    assert together(lambda ranks: ranks.same({"a": 1}), 3) == [None] * 3


def test_options_must_be_the_same_but_for_where_things_lie(monkeypatch):
    def job(change):
        def check(ranks):
            data = DataConfig(file=(f"/scratch/{ranks.rank}/a.h5",), reader="h5py")
            settings = ExecutionConfig(intra_op_parallelism_threads=1 + ranks.rank)
            configs = [data, settings, OutputConfig(output_dir=f"/scratch/{ranks.rank}")]
            check_options(
                ranks,
                *(replace(c, **change) if ranks.rank and hasattr(c, next(iter(change), "")) else c for c in configs),
            )

        return check

    assert together(job({})) == [None, None]
    assert "--minibatch_size: 2 on rank 0" in the_one_line(together(job({"minibatch_size": 8})))
    assert "--precision: float32 on rank 0" in the_one_line(together(job({"precision": "bfloat16"})))

    answers = iter([{"versions": {"keras": "3.0", "backend": backend}} for backend in ("tensorflow", "jax")])
    monkeypatch.setattr(execution, "describe", lambda: next(answers))
    line = the_one_line(together(lambda ranks: check_options(ranks, DataConfig())))
    assert line.startswith("the ranks differ in the backend: ") and "jax on rank" in line


def with_other_ids(three_events, path):
    """A copy of the file of the same size, whose events have other numbers."""
    shutil.copy(three_events, path)
    with h5py.File(path, "r+") as file:
        ids = file["Events/event_id"][:]
        ids["event"] += 1000
        file["Events/event_id"][:] = ids
    return path


def test_ranks_must_have_the_same_events(three_events, tmp_path):
    def job(there):
        def check(ranks):
            reader = open_reader(DataConfig(file=(str(there if ranks.rank else three_events),), max_entries=2))
            check_data(ranks, "file", reader)
            reader.close()

        return check

    copy = tmp_path / three_events.name
    shutil.copy(three_events, copy)
    assert together(job(copy)) == [None, None], "a node's own copy"
    with_other_ids(three_events, copy)
    line = the_one_line(together(job(copy)))
    assert "events of --file, by their checksum: " in line
    assert "number of" not in line, "max_entries makes them two of both"
    with open(copy, "ab") as file:
        file.write(bytes(10))
    assert f"bytes of --file 1, {copy.name}: {three_events.stat().st_size} on rank 0" in the_one_line(
        together(job(copy))
    )


def test_the_checksum_is_of_the_chosen_events(three_events, tmp_path):
    other = with_other_ids(three_events, tmp_path / "other.h5")

    def checksum(*files, **options):
        reader = open_reader(DataConfig(file=tuple(map(str, files)), **options))
        try:
            return reader.checksum()
        finally:
            reader.close()

    one = checksum(three_events, max_entries=2)
    assert one == checksum(three_events, other, max_entries=2), "the second file has none of them"
    others = {checksum(three_events), checksum(other), checksum(three_events, first_entry=1, max_entries=2)}
    others |= {checksum(three_events, other), checksum(other, three_events)}
    assert len(others | {one}) == 6


def test_one_rank_compares_nothing():
    class Untouched(SyntheticReader):
        def checksum(self):
            raise AssertionError("one rank alone must not read for it")

    check_data(Ranks(), "file", Untouched())
    check_options(Ranks(), DataConfig())


def test_other_devices_are_reported(caplog, monkeypatch):
    monkeypatch.setattr(execution, "accelerators", lambda: [])
    together(log_devices)
    assert not caplog.messages
    answers = iter([["H200"], [], ["H200"]])
    monkeypatch.setattr(execution, "accelerators", lambda: next(answers))
    together(log_devices, 3)
    (line,) = set(caplog.messages)
    assert "H200" in line and "CPU" in line


@pytest.fixture
def run(tmp_path):
    """A run's folder with checkpoints of the steps 10 and 20, of other weights each, and a function that saves one."""
    folder = RunFolder(OutputConfig(str(tmp_path), "run"))
    folder.prepare()
    configs = {"network": SMALL, "data": DataConfig(downsample=0)}
    content = {"config": {name: config.to_dict() for name, config in configs.items()}}
    content["config"]["optimizer"] = {}
    folder.record_file.write_text(json.dumps(content))
    store = CheckpointStore(folder.checkpoints, 2, architecture(SMALL))

    def save(step):
        keras.utils.set_random_seed(step)
        store.save(step, build_segmenter(SMALL, SHAPE).network, {}, {})

    save(10)
    save(20)
    return folder, save


def find(ranks, folder, step=-1):
    where = OutputConfig(str(folder.path.parent), folder.path.name)
    data = DataConfig(file=(f"of_rank_{ranks.rank}.h5",))
    return model_loading.agreed_model(ranks, InferenceConfig(where, WeightsConfig(checkpoint_step=step), data))


def test_a_training_that_saves_meanwhile_gives_all_ranks_one_network(run, monkeypatch):
    folder, save = run
    find_one = model_loading.find_model
    later = iter((30, 40))

    def find_and_save(*arguments):
        model = find_one(*arguments)
        save(next(later))
        return model

    monkeypatch.setattr(model_loading, "find_model", find_and_save)

    def load(ranks):
        with ranks.agreed():
            model = find(ranks, folder)
            assert model.data.file == (f"of_rank_{ranks.rank}.h5",)
            # Rank 1 need not have the file.
            model = replace(model, weights=folder.path / "gone") if ranks.rank else model
            return model.step, model.segmenter(SHAPE, ranks=ranks).network.get_weights()

    (step, weights), (other_step, other_weights) = together(load)
    assert step == other_step == 20
    for a, b in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_that_the_training_removes_is_named(run):
    folder, save = run
    model = find(Ranks(), folder, 10)
    assert model.checksum == sha256(model.weights)
    save(30)
    with pytest.raises(CheckpointError, match=r"step_00000010: was removed while .*give the command again"):
        model.segmenter(SHAPE)


def test_weights_that_are_replaced_before_they_are_loaded_are_named(run):
    folder, _ = run
    model = find(Ranks(), folder)
    shutil.copy(folder.checkpoints / "step_00000010/network.weights.h5", model.weights)
    with pytest.raises(CheckpointError, match="were replaced while"):
        model.segmenter(SHAPE)
