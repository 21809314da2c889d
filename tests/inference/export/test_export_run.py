"""export: every format reproduces the network, in Python, on the command line and from C."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import OutputConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.inference.export.export_run import check_place
from cosmictagger_tf.inference.export.saved_model import keep_others
from tests.commands import refusal, run_module

SERVE = Path(__file__).parent / "serve.c"


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The exported models by preprocessing or not."""
    folder = tmp_path_factory.mktemp("exported")
    run_module("export", *run, f"--export_dir={folder}/plain")
    whole = ["--export_preprocessing", "--export_default=per_view_flat"]
    run_module("export", *run, f"--export_dir={folder}/whole", *whole)
    return folder


@pytest.fixture(scope="module")
def event(simulated_file):
    return LarcvFile(str(simulated_file), "sbndwire", "").read(2)


@pytest.fixture(scope="module")
def expected(run, event):
    """float32 [planes, height, width, classes], by the package itself, and the images that it saw."""
    from cosmictagger_tf.inference.event_picture import predict_outputs
    from cosmictagger_tf.inference.inference_config import InferenceConfig
    from cosmictagger_tf.inference.model_loading import find_model
    from cosmictagger_tf.networks.predictor import Predictor

    where = OutputConfig(*(flag.partition("=")[2] for flag in run[:2]))
    trained = find_model(InferenceConfig(where))
    small = downsample_event(event, trained.data.downsample)
    scores, _ = predict_outputs(Predictor(trained.segmenter(event.shape), xla=False), small)
    assert np.ptp(scores) > 1e-2
    return scores, small


def stack(event):
    return np.stack([p.dense(event.shape.height, event.shape.width) for p in event.image], axis=-1)[None]


def call(path, signature, **inputs):
    import tensorflow as tf

    outputs = tf.saved_model.load(str(path)).signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def test_preprocessing_inside_equals_preprocessing_outside(exported, event, expected):
    scores, small = expected
    plain = call(exported / "plain", "serving_default", images=stack(small))["scores"]
    whole = call(exported / "whole", "dense", images=stack(event))["scores"]
    assert plain.shape == whole.shape == (1, *scores.shape[1:3], 3, 3)
    np.testing.assert_allclose(plain[0].transpose(2, 0, 1, 3), scores, atol=1e-5)
    np.testing.assert_allclose(whole, plain, atol=1e-5)
    batch = make_batch([event], 1, event.shape)
    inputs = {"coordinates": batch["image_coordinates"], "values": batch["image_values"]}
    pixel_scores = call(exported / "whole", "pixels", **inputs)["scores"][0]
    factor = event.shape.height // small.shape.height
    for plane, pixels in enumerate(event.image):
        blocks = scores[plane, pixels.rows // factor, pixels.columns // factor]
        np.testing.assert_allclose(pixel_scores[plane, : len(pixels)], blocks, atol=1e-5)
        assert not pixel_scores[plane, len(pixels) :].any()


def test_the_batch_is_open_in_every_signature(exported, event, expected):
    _, small = expected
    images, rng = stack(small), np.random.default_rng(0)
    many = np.concatenate([images, images * 0, rng.random(images.shape).astype(np.float32)])
    for name in ("serving_default", "dense", "flat"):
        output = call(exported / "plain", name, images=many)["scores"]
        assert output.shape[0] == 3 and (name != "flat" or output.ndim == 2)
        np.testing.assert_allclose(output[0], call(exported / "plain", name, images=images)["scores"][0], atol=1e-5)
    views = call(exported / "plain", "per_view", **{f"plane{p}": many[..., p : p + 1] for p in range(3)})
    assert {name: value.shape for name, value in views.items()} == {
        f"scores{p}": (3, *images.shape[1:3], 3) for p in range(3)
    }


def test_the_default_signature_is_the_one_that_is_asked_for(exported, event):
    # As LArSoft calls it: serving_default, an image a plane, outputs of two dimensions.
    views = {f"plane{p}": stack(event)[..., p : p + 1] for p in range(3)}
    flat, apart = (call(exported / "whole", name, **views) for name in ("serving_default", "per_view"))
    assert flat.keys() == apart.keys()
    for name, scores in apart.items():
        np.testing.assert_array_equal(flat[name], scores.reshape(1, -1))


def test_the_metadata_says_what_a_user_must_know(exported):
    plain, whole = (json.loads((exported / name / "metadata.json").read_text()) for name in ("plain", "whole"))
    assert plain["classes"] == ["background", "cosmic", "neutrino"]
    assert plain["image"] == plain["scores"] == whole["scores"] == {"planes": 3, "rows": 80, "columns": 128}
    assert whole["image"] == {"planes": 3, "rows": 1280, "columns": 2048}
    assert (plain["preprocessing"]["downsample"], whole["preprocessing"]["downsample"]) == (0, 4)
    assert plain["signatures"]["serving_default"] == ["images float32 ['open', 80, 128, 3]"]
    assert (plain["serving_default"], whole["serving_default"]) == ("dense", "per_view_flat")
    assert plain["versions"]["tensorflow"] and plain["geometry"]["cm_per_full_resolution_column"] == 0.3


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("signature", ["serving_default", "flat"])
def test_a_c_program_reproduces_the_scores(exported, expected, tmp_path, signature):
    import tensorflow as tf

    scores, small = expected
    library = tf.sysconfig.get_lib()
    built = subprocess.run(
        [
            "cc",
            "-Wall",
            "-Werror",
            "-O1",
            "-o",
            tmp_path / "serve",
            SERVE,
            f"-I{tf.sysconfig.get_include()}",
            f"-L{library}",
        ]
        + [f"-L{library}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    images = stack(small)
    images.tofile(tmp_path / "images.bin")
    names = [signature, "images", tmp_path / "images.bin", "scores", tmp_path / "scores.bin"]
    command = [tmp_path / "serve", exported / "plain", "serve", *names, *map(str, images.shape)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    assert done.returncode == 0, done.stderr
    shape = [int(n) for n in done.stdout.split()]
    assert len(shape) == (5 if signature == "serving_default" else 2)
    written = np.fromfile(tmp_path / "scores.bin", np.float32).reshape(*images.shape[1:], 3)
    np.testing.assert_allclose(written.transpose(2, 0, 1, 3), scores, atol=1e-5)
    command[3] = "nothing"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "there is no 'nothing'" in done.stderr


KERAS_ALONE = """
import sys
import numpy as np, keras
import cosmictagger_tf.networks.build
network = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], keras.ops.convert_to_numpy(keras.ops.softmax(network(np.load(sys.argv[2])), axis=-1)))
"""


def test_the_keras_file_reproduces_the_scores(run, expected, tmp_path):
    scores, small = expected
    run_module("export", *run, "--export_format=keras", f"--export_dir={tmp_path}/model.keras")
    np.save(tmp_path / "images.npy", stack(small).transpose(0, 3, 1, 2))
    paths = [tmp_path / name for name in ("model.keras", "images.npy", "scores.npy")]
    done = subprocess.run([sys.executable, "-c", KERAS_ALONE, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy")[0], scores, atol=1e-5)
    line = refusal("export", *run, "--export_format=keras", "--export_preprocessing")
    assert "leave out --export_preprocessing" in line


def test_only_an_export_is_replaced_by_an_export(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").touch()
    for place in (tmp_path / "mine", tmp_path / "mine/thesis"):
        with pytest.raises(ConfigError, match="is no exported model"):
            check_place(place, "saved_model")
    with pytest.raises(ConfigError, match="is a folder"):
        check_place(tmp_path / "mine", "keras")
    with pytest.raises(ConfigError, match="a folder of its own"):
        check_place(Path("."), "saved_model")
    (tmp_path / "mine/saved_model.pb").touch()
    (tmp_path / "empty").mkdir()
    for place in ("mine", "empty", "new"):
        check_place(tmp_path / place, "saved_model")
    with pytest.raises(ConfigError, match=r"ends in \.keras"):
        check_place(tmp_path / "mine/thesis", "keras")
    (tmp_path / "mine/thesis.keras").touch()
    with pytest.raises(ConfigError, match="is no exported model"):
        check_place(tmp_path / "mine/thesis.keras", "keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "mine/model.keras")
    check_place(tmp_path / "mine/model.keras", "keras")


def test_what_others_put_into_an_exports_folder_is_kept(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "metadata.json", "variables/variables.index"):
            (folder / name).write_text(folder.name)
    (old / "notes/deep").mkdir(parents=True)
    (old / "variables/variables.data-00001-of-00002").write_text("of a larger model")
    for name in ("README", "notes/deep/a", "variables/mine"):
        (old / name).write_text("mine")
    (old / "link").symlink_to("nowhere")
    keep_others(old, new)
    files = {str(path.relative_to(new)): path for path in new.rglob("*") if path.is_symlink() or path.is_file()}
    ours = {"saved_model.pb", "metadata.json", "variables/variables.index"}
    assert files.keys() == ours | {"README", "notes/deep/a", "variables/mine", "link"}
    assert {files[name].read_text() for name in ours} == {"new"} and files["link"].is_symlink()
    assert files["notes/deep/a"].read_text() == "mine"


@pytest.mark.parametrize("name", ["m[1]", "a*", "run?/model", "back\\slash"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="loads no model from a path with"):
        check_place(tmp_path / name, "saved_model")


def test_a_link_is_no_place_for_an_export(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    (tmp_path / "link.keras").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.keras")
    for name, export_format in (("link", "saved_model"), ("link.keras", "keras")):
        with pytest.raises(ConfigError, match="is a symbolic link"):
            check_place(tmp_path / name, export_format)
    with pytest.raises(ConfigError, match="is no exported model"):
        check_place(tmp_path / "pipe.keras", "keras")


def test_a_model_goes_where_tensorflow_can_write_it(tmp_path):
    place = tmp_path / os.fsdecode(b"mod\xe9le")
    with pytest.raises(ConfigError, match="needs a name in UTF-8"):
        check_place(place, "saved_model")
    check_place(place.with_suffix(".keras"), "keras")
