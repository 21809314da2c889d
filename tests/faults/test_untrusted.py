"""Files from strangers: nothing in them is run, and nothing they name outside of themselves is read or written."""

import ast
import re
from pathlib import Path

import h5py
import keras
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import ProductFile
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.export.saved_model import ServedNetwork
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, load_weights
from tests.data.sound_files import IMAGE, VOXELS, sound_file
from tests.test_architecture import MODULES, PACKAGE, imports


def test_nothing_is_unpickled():
    """The one module that names pickle catches its error: torch.load(weights_only=True) runs nothing."""
    users = {
        p.relative_to(PACKAGE) for p in MODULES if imports(p) & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    }
    assert users == {Path("training/checkpoints/importing.py")}
    text = (PACKAGE / "training/checkpoints/importing.py").read_text()
    assert set(re.findall(r"pickle\.\w+", text)) == {"pickle.UnpicklingError"} and "weights_only=True" in text
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert "allow_pickle=False" in ast.unparse(node), path


def test_no_model_is_loaded_with_code():
    """Weights go into networks that this package has built: it loads no .keras file and no SavedModel."""
    for path in MODULES:
        for call in (
            "load_model(",
            "saved_model.load(",
            "enable_unsafe_deserialization",
            "safe_mode=False",
            "eval(",
            "exec(",
        ):
            assert not re.search(rf"(?<![\w.]){re.escape(call)}", path.read_text()), f"{path}: {call}"


def test_keras_refuses_a_model_with_code_in_it(tmp_path):
    """What `export --export_format=keras` writes opens in Keras's safe mode; a file with a lambda does not."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(Exception, match=r"safe_mode|Lambda"):
        keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("kind", ["external", "soft"])
def test_weights_that_lead_elsewhere_are_refused(tmp_path, kind):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    file, secret = tmp_path / "a.weights.h5", tmp_path / "secret.weights.h5"
    for path in (file, secret):
        network.save_weights(path)
    with h5py.File(file, "r+") as h5:
        del h5["layers"]
        h5["layers"] = h5py.ExternalLink(str(secret), "/layers") if kind == "external" else h5py.SoftLink("/vars")
    with pytest.raises(CheckpointError, match=r"a.weights.h5: cannot be read \(layers is a link"):
        load_weights(file, network)


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_weights_whose_values_lie_elsewhere_are_refused(tmp_path, kind):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    file, secret = tmp_path / "a.weights.h5", tmp_path / "secret.weights.h5"
    for path in (file, secret):
        network.save_weights(path)
    kernel = "layers/dense/vars/0"
    with h5py.File(file, "r+") as h5:
        del h5[kernel]
        if kind == "external":
            h5.create_dataset(kernel, (4, 3), "f4", external=[(str(secret), 0, 48)])
        else:
            layout = h5py.VirtualLayout((4, 3), "f4")
            layout[:] = h5py.VirtualSource(str(secret), kernel, (4, 3))
            h5.create_virtual_dataset(kernel, layout)
    with pytest.raises(CheckpointError, match=r"a.weights.h5: cannot be read \(/layers/dense/vars/0 lies in another"):
        load_weights(file, network)


def test_weights_that_claim_more_than_the_network_has_are_not_read(tmp_path):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    file = tmp_path / "a.weights.h5"
    network.save_weights(file)
    with h5py.File(file, "r+") as h5:
        del h5["layers/dense/vars/0"]
        h5.create_dataset("layers/dense/vars/0", (1 << 40, 3), "f4", chunks=(1000, 3))
    with pytest.raises(CheckpointError, match=r"do not fit this network \(1 layer differs: dense"):
        load_weights(file, network)


def external_group(file, other):
    del file[IMAGE]
    file[IMAGE] = h5py.ExternalLink(str(other), IMAGE)


def external_table(file, other):
    del file[VOXELS]
    file[VOXELS] = h5py.ExternalLink(str(other), VOXELS)


def soft_table(file, other):
    file["/elsewhere"] = h5py.ExternalLink(str(other), VOXELS)
    del file[VOXELS]
    file[VOXELS] = h5py.SoftLink("/elsewhere")


def raw_bytes(file, other):
    dtype, rows = file[VOXELS].dtype, len(file[VOXELS])
    del file[VOXELS]
    file.create_dataset(VOXELS, (rows,), dtype, external=[(str(other), 0, rows * dtype.itemsize)])


def virtual(file, other):
    dtype, rows = file[VOXELS].dtype, len(file[VOXELS])
    del file[VOXELS]
    layout = h5py.VirtualLayout((rows,), dtype)
    layout[:] = h5py.VirtualSource(str(other), VOXELS, (rows,))
    file.create_virtual_dataset(VOXELS, layout)


@pytest.mark.parametrize("lead_away", [external_group, external_table, soft_table, raw_bytes, virtual])
def test_a_larcv_file_cannot_make_us_read_another(tmp_path, lead_away):
    path, other = sound_file(tmp_path / "file.h5"), sound_file(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        lead_away(file, other)
    with pytest.raises(DataError, match=r"file.h5: .*(a link to elsewhere|lies in another file)"):
        open_reader(DataConfig(file=(str(path),))).read(0)
    with pytest.raises(DataError, match=r"file.h5: .*(a link to elsewhere|lies in another file)"):
        ProductFile(str(path))


@pytest.mark.parametrize("chunks", [None, (1000,)])
def test_a_table_longer_than_its_file_can_hold_is_refused(tmp_path, chunks):
    path = sound_file(tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        dtype = file[f"{IMAGE}/extents"].dtype
        del file[f"{IMAGE}/extents"]
        file.create_dataset(f"{IMAGE}/extents", (1 << 40,), dtype, chunks=chunks)
    with pytest.raises(DataError, match="claims 1099511627776 rows, which the file is too small for"):
        open_reader(DataConfig(file=(str(path),)))


@pytest.mark.slow
def test_the_exported_graph_calls_no_python(tmp_path):
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    from cosmictagger_tf.config import NetworkConfig
    from cosmictagger_tf.inference.export.saved_model import export_saved_model
    from cosmictagger_tf.networks.build import build_segmenter
    from tests.training.small import NETWORK, SHAPE

    segmenter = build_segmenter(NetworkConfig(**NETWORK), SHAPE)
    export_saved_model(ServedNetwork(segmenter), tmp_path / "model", {})
    content = parse_saved_model(str(tmp_path / "model"))
    nodes = [n for graph in content.meta_graphs for n in graph.graph_def.node]
    nodes += [n for graph in content.meta_graphs for f in graph.graph_def.library.function for n in f.node_def]
    kinds = {node.op for node in nodes}
    assert "Conv2D" in kinds and not {kind for kind in kinds if "Py" in kind or kind in ("ReadFile", "WriteFile")}
