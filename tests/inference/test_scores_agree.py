"""One network, one score, whichever command it comes through."""

import numpy as np

from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.transforms import at_stored_pixels, downsample_event
from cosmictagger_tf.detector import NEUTRINO
from tests.commands import run_module
from tests.inference.conftest import scores_of


def test_predict_evaluate_and_export_give_the_same_scores(run, any_file, tmp_path):
    import tensorflow as tf

    from cosmictagger_tf.config import OutputConfig
    from cosmictagger_tf.inference.evaluate.details import DetailedEvaluator
    from cosmictagger_tf.inference.inference_config import InferenceConfig
    from cosmictagger_tf.inference.model_loading import find_model

    run_module("predict", *run, "--xla", f"--file={any_file}", f"--output={tmp_path}/scored.h5")
    run_module("export", *run, f"--export_dir={tmp_path}/model")
    exported = tf.saved_model.load(str(tmp_path / "model")).signatures["pixels"]
    where = OutputConfig(*(flag.partition("=")[2] for flag in run[:2]))
    model = find_model(InferenceConfig(where))
    file = LarcvFile(str(any_file), "sbndwire", "sbnd_cosmicseg")
    evaluator = DetailedEvaluator(model.segmenter(file.shape, True), model.scheme, True)
    for entry in range(3):
        event = file.read(entry)
        small = downsample_event(event, model.data.downsample)
        batch = make_batch([small], 1, small.shape)
        evaluated = np.asarray(evaluator.predict_on_batch(batch)["pixel_scores"])[0]
        coordinates, values = batch["image_coordinates"], batch["image_values"]
        served = exported(coordinates=tf.constant(coordinates), values=tf.constant(values))["scores"].numpy()[0]
        for plane, stored in enumerate(scores_of(tmp_path / "scored.h5", entry)):
            n = len(small.image[plane])
            np.testing.assert_allclose(served[plane, :n], evaluated[plane, :n], atol=1e-5)
            spread = at_stored_pixels(event.image[plane], evaluated[plane, :n], model.data.downsample, event.shape)
            np.testing.assert_array_equal(spread[NEUTRINO].rows, stored.rows)
            np.testing.assert_allclose(spread[NEUTRINO].values, stored.values, atol=1e-5)
            assert np.ptp(stored.values) > 1e-3
