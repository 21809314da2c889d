"""Our networks against the reference's own outputs: logits, losses, gradients, batch-norm statistics."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import _to_keras, assign_reference_weights, variables
from cosmictagger_tf.training.losses import per_image_loss

NETWORKS = ("a21_small", "uresnet_small", "uresnet3d_small")
MODES = ("eval", "train")
SCHEMES = ("none", "light", "even", "focal")
SAME_NAME = ("bias", "n_initial_filters", "blocks_per_layer", "blocks_deepest_layer", "blocks_final", "residual")
SAME_NAME += ("filter_size_deepest", "bottleneck_deepest", "block_concat", "connections", "growth_rate")
SAME_NAME += ("downsampling", "upsampling", "normalization")


class Reference:
    """One fixture file, and our network with its weights."""

    def __init__(self, path):
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        theirs = json.loads(str(self.arrays["config_json"]))["network"]
        same = {name: theirs[name] for name in SAME_NAME}
        mode = theirs["conv_mode"].removeprefix("conv_")
        self.config = NetworkConfig(
            conv_mode=mode, network_depth=theirs["depth"], wiring="pytorch", deepest_3d="bottleneck", **same
        )
        self.images = self.arrays["input"].astype(np.float32)
        self.labels = self.arrays["labels"].astype(np.int32)

    @property
    def weights(self):
        return {k.removeprefix("param/"): v for k, v in self.arrays.items() if k.startswith("param/")}

    def network(self, dtype="float32"):
        network = build_network(self.config, ImageShape(*self.images.shape[1:]))
        assign_reference_weights(network, self.config, {k: v.astype(dtype) for k, v in self.weights.items()})
        return network

    @functools.cache  # noqa: B019
    def passed(self, mode, dtype):
        """What our network makes of the images in a mode, as a dtype.

        Returns:
            logits [plane, height, width, class], and for each loss scheme the loss and every parameter's gradient.
        """
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        try:
            network = self.network(dtype)
            ours = variables(network, self.config)
            names = [str(name) for name in self.arrays["param_names"]]
            with tf.GradientTape(persistent=True) as tape:
                logits = network(self.images.astype(dtype), training=mode == "train")
                losses = {scheme: per_image_loss(self.labels, logits, scheme)[0] for scheme in SCHEMES}
            values = [ours[name].value for name in names]
            values_by_scheme = {
                scheme: (float(loss), dict(zip(names, map(np.asarray, tape.gradient(loss, values)), strict=True)))
                for scheme, loss in losses.items()
            }
            return np.asarray(logits)[0], values_by_scheme
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")

    def loss_and_gradient_norms(self, mode, scheme, dtype):
        """The loss and the norm of each parameter's gradient, in the order of the file's param_names."""
        loss, gradients = self.passed(mode, dtype)[1][scheme]
        return loss, np.array([np.linalg.norm(gradient) for gradient in gradients.values()])

    def logits(self, mode):
        """[plane, height, width, class], as the file has them."""
        return self.arrays[f"{mode}/logits"][:, 0].transpose(0, 2, 3, 1)

    def tolerance(self, mode):
        # Processor and oneDNN decide in which order TensorFlow sums. Seen with TF_ENABLE_ONEDNN_OPTS=0 and with
        # ONEDNN_MAX_CPU_ISA=AVX2, AVX512_CORE and SSE41: 2.0 to 3.8 times that gap. The sharp comparison is in float64.
        return max(1e-3, 4 * float(self.arrays[f"{mode}/f64_logits_maxabsdiff"]))


@pytest.fixture(scope="module", params=NETWORKS)
def reference(request, fixtures_dir):
    return Reference(fixtures_dir / f"{request.param}_torch.npz")


@pytest.mark.parametrize("mode", MODES)
def test_logits(reference, mode):
    logits = np.asarray(reference.network()(reference.images, training=mode == "train"))[0]
    assert np.abs(logits - reference.logits(mode)).max() < reference.tolerance(mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_logits_in_float64(reference, mode):
    # The file holds the float32 logits and how far its float64 ones are from them: ours are just as far.
    double, _ = reference.passed(mode, "float64")
    gap = float(reference.arrays[f"{mode}/f64_logits_maxabsdiff"])
    assert np.abs(double - reference.logits(mode)).max() == pytest.approx(gap, rel=0.01)
    assert np.abs(double).max() == pytest.approx(float(reference.arrays[f"{mode}/f64_logits_absmax"]), rel=1e-6)
    # And our float32 logits against these float64 ones.
    single, _ = reference.passed(mode, "float32")
    assert np.abs(single - double).max() < reference.tolerance(mode)


def test_batch_norm_statistics_after_a_pass(reference):
    network = reference.network()
    network(reference.images, training=True)
    names = [name for name in variables(network, reference.config) if ".running_" in name]
    assert len(names) > 20
    for name in names:
        expected = reference.arrays[f"train/after/{name}"]
        np.testing.assert_allclose(variables(network, reference.config)[name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_losses_of_the_same_logits(reference, mode):
    for scheme in SCHEMES:
        loss = per_image_loss(reference.labels, reference.logits(mode)[None], scheme)
        assert float(loss[0]) == pytest.approx(float(reference.arrays[f"{mode}/loss_{scheme}"]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_losses_and_gradient_norms_in_float64(reference, mode):
    # In float64, where rounding hides nothing.
    for scheme in SCHEMES:
        loss, norms = reference.loss_and_gradient_norms(mode, scheme, "float64")
        expected = reference.arrays[f"{mode}/f64_gradnorm_{scheme}"]
        assert loss == pytest.approx(float(reference.arrays[f"{mode}/f64_loss_{scheme}"]), rel=1e-5)
        np.testing.assert_allclose(norms, expected, rtol=1e-3, atol=1e-6 * expected.max())


# In inference mode with scripts/test --all, for CI's time; float64 above has both modes.
@pytest.mark.slow
@pytest.mark.parametrize("mode", [pytest.param("eval", marks=pytest.mark.exhaustive), "train"])
def test_losses_and_gradient_norms_in_float32(reference, mode):
    for scheme in SCHEMES:
        loss, norms = reference.loss_and_gradient_norms(mode, scheme, "float32")
        expected_loss = float(reference.arrays[f"{mode}/f64_loss_{scheme}"])
        gap = abs(float(reference.arrays[f"{mode}/loss_{scheme}"]) - expected_loss) / expected_loss
        assert loss == pytest.approx(expected_loss, rel=max(1e-5, 3 * gap))
        expected = reference.arrays[f"{mode}/f64_gradnorm_{scheme}"]
        # Gradients that are zero but for rounding (a bias before a batch norm) say nothing.
        there = expected > 1e-4 * expected.max()
        # Float32 cannot give 1e-3: rounding moves pixels over the kinks of activations and maxima, where the gradient
        # jumps. The reference's own float32 norms are up to 3.7 % off its float64 ones, and which ones is chance; so
        # the yardstick is the file's largest gap, over all schemes and both modes.
        own = max(own_gap(reference, m, s) for m in MODES for s in SCHEMES)
        np.testing.assert_allclose(norms[there], expected[there], rtol=5 * own)
        typical = np.median(np.abs(norms - expected)[there] / expected[there])
        assert typical < own / 2
        assert np.linalg.norm(norms - expected) < own * np.linalg.norm(expected)


def own_gap(reference, mode, scheme):
    """The largest relative difference of the file's float32 gradient norms from its float64 ones."""
    single, double = (reference.arrays[f"{mode}/{kind}gradnorm_{scheme}"] for kind in ("", "f64_"))
    there = double > 1e-4 * double.max()
    return (np.abs(single - double)[there] / double[there]).max()


@pytest.mark.slow
def test_whole_gradients_in_float64(reference):
    # The file's gradients are float32. Behind the logits' layer there is no kink, and they agree to 1e-3; those
    # of the first layer, behind all kinks, agree within the file's own gap between float32 and float64.
    own = max(own_gap(reference, m, s) for m in MODES for s in SCHEMES)
    for mode in MODES:
        for scheme in ("light", "focal"):
            gradients = reference.passed(mode, "float64")[1][scheme][1]
            start = f"{mode}/grad_{scheme}/"
            names = [name.removeprefix(start) for name in reference.arrays if name.startswith(start)]
            assert len(names) >= 5
            for name in names:
                expected = _to_keras(reference.arrays[start + name].astype(np.float64))
                allowed = (1e-3 if name.startswith("bottleneck") else 2 * own) * np.linalg.norm(expected)
                assert np.linalg.norm(gradients[name] - expected) < allowed, (mode, scheme, name)


@pytest.mark.parametrize(
    ("wiring", "trainable", "total"), [("tensorflow", 8_510_547, 8_516_083), ("pytorch", 8_510_547, 8_516_083)]
)
def test_a21_has_the_references_number_of_weights(wiring, trainable, total):
    from cosmictagger_tf.config import with_changes
    from cosmictagger_tf.networks.presets import PRESETS

    network = build_network(with_changes(PRESETS["a21"], wiring=wiring), ImageShape(3, 640, 1024))
    assert network.count_params() == total
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == trainable
