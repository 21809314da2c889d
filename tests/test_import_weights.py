"""import_weights: a reference network becomes a run that evaluate, export and train take."""

import json
import re

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, ImportConfig, NetworkConfig, OutputConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, UserError
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import WeightsDoNotFit, check_taken_over
from cosmictagger_tf.training.checkpoints.importing import check_architecture, import_run, read_tensors, strip_prefix
from tests.commands import TINY, refusal, run_module
from tests.networks.reference_tensors import reference_tensors

ARCHITECTURE = ["--n_initial_filters=4", "--network_depth=4", "--bottleneck_deepest=32", "--downsample=3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run imported from tensors as the reference names and shapes them, of values of our own; its file, its flags."""
    options = {name: int(value) for name, value in (flag.removeprefix("--").split("=") for flag in TINY)}
    del options["downsample"]
    tensors = reference_tensors(NetworkConfig(**options))
    source = tmp_path_factory.mktemp("theirs") / "theirs.npz"
    np.savez(source, **{f"param/{name}": array for name, array in tensors.items()})
    return imported_from(source, TINY, tmp_path_factory.mktemp("imported"))


@pytest.fixture(scope="module")
def imported(fixtures_dir, tmp_path_factory):
    """A run imported from the reference's own tensors."""
    flags = ["--flagfile=flags/networks/uresnet.flags", *ARCHITECTURE]
    return imported_from(fixtures_dir / "uresnet_small_torch.npz", flags, tmp_path_factory.mktemp("imported"))


def imported_from(source, flags, folder):
    done = run_module("import_weights", f"--from={source}", *flags, f"--output_dir={folder}", "--run_id=moved")
    assert done.stdout.splitlines()[-1] == f"imported into {folder}/moved"
    return folder, source, flags


def test_the_run_has_the_references_logits(imported):
    import keras

    from cosmictagger_tf.runs import RunFolder

    keras.config.set_dtype_policy("float32")
    folder, source, _ = imported
    run = RunFolder(OutputConfig(str(folder), "moved"))
    network = build_network(run.config(NetworkConfig), ImageShape(3, 160, 256))
    network.load_weights(run.checkpoints / "step_00000000/network.weights.h5")
    with np.load(source) as file:
        expected = file["eval/logits"][:, 0].transpose(0, 2, 3, 1)
        gap = float(file["eval/f64_logits_maxabsdiff"])
        logits = np.asarray(network(file["input"].astype(np.float32)))[0]
    assert np.abs(logits - expected).max() < max(1e-3, 3 * gap)


@pytest.mark.slow
def test_evaluate_and_train_take_it(made, three_events):
    folder, _, _ = made
    where = [f"--output_dir={folder}", f"--file={three_events}", "--max_entries=1"]
    run_module("evaluate", *where, "--run_id=moved", "--minibatch_size=1", "--noxla", "--nohtml")
    record = json.loads((folder / "moved/evaluation.json").read_text())
    assert record["step"] == 0 and record["events"] == 1
    flags = ["--minibatch_size=1", "--iterations=1", f"--init_from={folder}/moved", "--run_id=further", "--noxla"]
    done = run_module("train", *where, *flags, *TINY)
    assert "begins with the weights" in done.stdout and "step=1 of=1" in done.stdout


def test_a_run_is_not_replaced(made):
    folder, source, flags = made
    line = refusal("import_weights", f"--from={source}", *flags, f"--output_dir={folder}", "--run_id=moved")
    assert "a run is there already" in line


def test_tensors_that_do_not_fit_are_named(made, tmp_path):
    _, source, _ = made
    flags = [*TINY, "--blocks_final=0", f"--output_dir={tmp_path}"]
    line = refusal("import_weights", f"--from={source}", *flags)
    assert "final_layer.blocks.0.convolution_1.conv.weight has no place" in line
    assert not (tmp_path / "test").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wiring": "tensorflow"}, "--wiring"),
        ({"conv_mode": "3D"}, "--deepest_3d=bottleneck"),
        ({"row_exchange": ("2", "3")}, "--row_exchange=2,3"),
        ({"submanifold": True}, "--submanifold"),
        ({"normalise_charge": True}, "--normalise_charge"),
        ({"event_head": True, "event_joins_pixels": True}, "--event_joins_pixels"),
        ({"conv_mode": "sparse"}, "--conv_mode=sparse"),
        ({"normalization": "group"}, "--normalization=group"),
        ({"normalization": "instance"}, "--normalization=instance"),
        ({"normalization": "layer"}, "--normalization=layer"),
        ({"normalization": "none"}, "--normalization=none"),
        ({"downsampling": "convolutional"}, "--downsampling=convolutional"),
        ({"upsampling": "convolutional"}, "--upsampling=convolutional"),
        ({"conv_mode": "3D", "deepest_3d": "bottleneck", "block_concat": True}, "--block_concat"),
        ({"conv_mode": "3D", "deepest_3d": "bottleneck", "event_head": True}, "--event_head"),
        ({"conv_mode": "3D", "deepest_3d": "bottleneck", "vertex_head": True}, "--vertex_head"),
    ],
)
def test_options_that_the_reference_has_not_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_architecture(NetworkConfig(**changes))


# What is not taken over, by fixture: the option of the reference that the one line names, whatever the flags say.
REFUSED = {
    "scn_sparse_concat.npz": "SparseConvNet's layers",
    "scn_sparse_sum_plain.npz": "SparseConvNet's layers",
    "v21_convdown_torch.npz": "downsampling=convolutional",
    "v21_convnext_torch.npz": "blocks with other kernels than 3x3, such as convnext's",
    "v21_convup_torch.npz": "upsampling=convolutional",
    "v21_group_torch.npz": "normalization=group or layer",
    "v21_instance_torch.npz": "normalization=none or instance",
    "v_conv_mult_nobias_2d_torch.npz": "downsampling=convolutional",
}
# Equal in tests/parity; and the 3D network with block_concat, which merges the planes, below.
TAKEN = {f"{name}_torch.npz" for name in ("a21_small", "uresnet_small", "uresnet3d_small", "v21_heads")}
TAKEN |= {"v_blockconcat_3d_torch.npz"}


def test_every_fixture_is_equal_or_refused_by_name(fixtures_dir):
    assert {path.name for path in fixtures_dir.glob("*.npz")} == TAKEN | REFUSED.keys()
    for name in TAKEN:
        check_taken_over(read_tensors(fixtures_dir / name))
    for name, message in REFUSED.items():
        with pytest.raises(WeightsDoNotFit, match=re.escape(message)):
            check_taken_over(read_tensors(fixtures_dir / name))
    checkpoints = sorted(path.with_suffix("") for path in fixtures_dir.glob("tf_*/*.index"))
    assert len(checkpoints) == 3
    for path in checkpoints:
        with pytest.raises(ConfigError, match="is TensorFlow's; only"):
            read_tensors(path)
        with pytest.raises(ConfigError, match="TensorFlow's checkpoints are not taken over"):
            ImportConfig(from_=f"{path}.index")


def theirs_as_ours(file, **changes) -> NetworkConfig:
    """The architecture of a fixture."""
    theirs = json.loads(str(file["config_json"]))["network"]
    same = ("n_initial_filters", "blocks_per_layer", "blocks_deepest_layer", "blocks_final", "filter_size_deepest")
    options = {option: theirs[option] for option in (*same, "bottleneck_deepest", "block_concat", "normalization")}
    mode = theirs.get("conv_mode", "conv_2D").removeprefix("conv_")
    options |= {"network_depth": theirs["depth"], "conv_mode": mode, "deepest_3d": "bottleneck"}
    return NetworkConfig(**options | changes)


@pytest.mark.parametrize("name", ["v21_group_torch.npz", "v21_instance_torch.npz"])
def test_with_the_flags_that_let_its_tensors_fit_it_is_refused_before_anything_is_written(fixtures_dir, tmp_path, name):
    for changes in ({}, {"normalization": "batch"}, {"normalization": "none"}):
        with np.load(fixtures_dir / name) as file:
            network = theirs_as_ours(file, **changes)
        with pytest.raises(UserError, match="taken over yet"):
            import_run(ImportConfig(str(fixtures_dir / name)), OutputConfig(str(tmp_path), "x"), network, DataConfig())
    assert not list(tmp_path.iterdir())


def test_the_3d_network_with_block_concat_is_ours_without_it(fixtures_dir):
    from cosmictagger_tf.networks.reference_weights import assign_reference_weights

    path = fixtures_dir / "v_blockconcat_3d_torch.npz"
    with np.load(path) as file:
        config, images = theirs_as_ours(file, block_concat=False), file["input"].astype(np.float32)
        expected = file["eval/logits"][:, 0].transpose(0, 2, 3, 1)
    network = build_network(config, ImageShape(*images.shape[1:]))
    assign_reference_weights(network, config, read_tensors(path))
    assert np.abs(np.asarray(network(images))[0] - expected).max() < 1e-3


def test_what_is_no_file_of_weights_is_one_line(tmp_path):
    assert "no such file" in refusal("import_weights", "--from=/nowhere.npz")
    assert "ends in .ckpt" in refusal("import_weights", "--from=weights.h5")
    assert "ends in .ckpt" in refusal("import_weights")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ConfigError, match=r"broken\.npz"):
        read_tensors(tmp_path / "broken.npz")
    # Damaged inside: the archive's list is whole, what it lists is not.
    np.savez_compressed(tmp_path / "damaged.npz", a=np.arange(5000.0))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[200:400] = bytes(range(200))
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"damaged\.npz: cannot be read as arrays"):
        read_tensors(tmp_path / "damaged.npz")


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", weight=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read as arrays"):
        read_tensors(tmp_path / "a.npz")


def test_names_of_an_npz_with_and_without_param(tmp_path):
    np.savez(tmp_path / "a.npz", **{"param/x.weight": np.ones(2), "logits": np.zeros(3)})
    np.savez(tmp_path / "b.npz", **{"x.weight": np.ones(2)})
    for name in ("a.npz", "b.npz"):
        assert list(read_tensors(tmp_path / name)) == ["x.weight"]


def test_a_wrappers_prefix_is_taken_off_and_its_own_tensors_are_named(caplog):
    network = {"initial_convolution.conv.weight": np.ones(1), "bottleneck.bias": np.ones(2)}
    wrapped = {f"model.{name}": array for name, array in network.items()} | {"criterion.weights": np.ones(3)}
    assert strip_prefix(wrapped).keys() == network.keys()
    assert len(caplog.messages) == 1 and "criterion.weights" in caplog.messages[0]
    assert strip_prefix(network).keys() == network.keys() and len(caplog.messages) == 1


def test_a_lightning_checkpoint_and_a_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"model.initial_convolution.conv.weight": torch.ones(2, dtype=torch.float16), "model.b": torch.zeros(3)}
    torch.save({"state_dict": state, "epoch": 3, "callbacks": {}}, tmp_path / "a.ckpt")
    torch.save(state, tmp_path / "b.pt")
    for name in ("a.ckpt", "b.pt"):
        tensors = strip_prefix(read_tensors(tmp_path / name))
        assert tensors.keys() == {"initial_convolution.conv.weight", "b"}
        assert tensors["initial_convolution.conv.weight"].dtype == np.float32


class Harmful:
    """What a pickle could hold."""

    def __reduce__(self):
        return (print, ("executed",))


def test_objects_in_a_checkpoint_are_refused_unexecuted(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": Harmful()}, tmp_path / "a.ckpt")
    with pytest.raises(ConfigError, match="not loaded because they can run code"):
        read_tensors(tmp_path / "a.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_without_torch_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    import sys

    from cosmictagger_tf.errors import MissingPackageError

    (tmp_path / "a.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackageError, match="pip install torch"):
        read_tensors(tmp_path / "a.pt")
