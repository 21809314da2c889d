"""Mistakes that trainers of such networks have made."""

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.losses import per_image_loss
from cosmictagger_tf.training.run_config import RunConfig
from cosmictagger_tf.training.schedules import Flat
from cosmictagger_tf.training.speed import Progress, is_due
from cosmictagger_tf.training.trainer import build_validation
from tests.training.small import make_batches, make_event, make_model, train_on
from tests.training.test_losses import reference_loss


@pytest.mark.parametrize("conv_mode", ["2D", "3D"])
@pytest.mark.parametrize("connections", ["concat", "sum", "none"])
def test_every_layer_that_is_built_is_used(conv_mode, connections):
    options = {"conv_mode": conv_mode, "connections": connections, "residual": True, "blocks_final": 1}
    model = make_model(normalization="none", blocks_per_layer=1, blocks_deepest_layer=1, **options)
    batch = make_batches(1, 2)[0]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, y_pred=model(batch, training=True))
    variables = model.network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and float(tf.norm(gradient)) > 0, variable.path


def test_normalisation_is_told_when_it_trains():
    model = make_model()
    moving = [w for w in model.network.weights if "moving" in w.path]
    assert moving
    begin = [w.numpy() for w in moving]
    batch = make_batches(1, 2)[0]
    model.test_step(batch)
    for weight, value in zip(moving, begin, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    train_on(model, [batch])
    for weight, value in zip(moving, begin, strict=True):
        assert not np.array_equal(weight.numpy(), value), weight.path


def test_frozen_normalisation_uses_and_keeps_its_moving_statistics():
    model = make_model()
    layer = model.network.get_layer("initial_norm")
    layer.moving_mean.assign([3.0, -1.0])
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 2)).astype(np.float32)
    layer.trainable = False
    output = layer(x, training=True)
    np.testing.assert_array_equal(output, layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), [3.0, -1.0])


class FewEvents:
    """A reader of events at twice the size of the small networks' images."""

    shape = ImageShape(3, 32, 48)
    files, has_labels, has_truth = ("none",), True, False

    def __len__(self):
        return 4

    def read(self, entry):
        return make_event(entry, self.shape, 200)


def test_images_are_downsampled_once():
    config = DataConfig(downsample=1, minibatch_size=2)
    batch = next(iter(training_dataset(FewEvents(), config, seed=0).batches))
    model = make_model()
    image = model.segmenter.scatter(batch["image_coordinates"], batch["image_values"])
    assert image.shape == (2, 3, 16, 24)
    for i, entry in enumerate(batch["entries"].numpy()):
        whole = np.array([plane.values.sum() for plane in FewEvents().read(entry).image])
        np.testing.assert_allclose(np.asarray(image[i]).sum(axis=(1, 2)) * 4, whole, rtol=1e-5)


@pytest.mark.parametrize("scheme", ["none", "light", "even", "focal"])
@pytest.mark.parametrize("planes", [1, 2, 5])
def test_planes_and_classes_are_not_confused_in_the_loss(scheme, planes):
    rng = np.random.default_rng(planes)
    labels = rng.choice(3, size=(2, planes, 6, 8), p=[0.7, 0.2, 0.1]).astype(np.int32)
    logits = (3 * rng.normal(size=(*labels.shape, 3))).astype(np.float32)
    losses = np.asarray(per_image_loss(labels, logits, scheme))
    np.testing.assert_allclose(losses, reference_loss(labels, logits, scheme), rtol=2e-6)
    order = rng.permutation(planes)
    np.testing.assert_allclose(per_image_loss(labels[:, order], logits[:, order], scheme), losses, rtol=1e-5)


def test_without_a_validation_file_nothing_is_validated():
    train = TrainConfig(iterations=1)
    assert train.aux_file == ()
    configs = (DataConfig(file=("test.h5",)), NetworkConfig(), OptimizerConfig(), ExecutionConfig(), OutputConfig())
    assert build_validation(None, None, None, RunConfig(*configs, train), [], None, Progress(0, 1), Ranks(), None) == []


def test_no_checkpoint_holds_a_learning_rate_that_would_overrule_the_flags():
    model = make_model({"optimizer": "adam"}, schedule=Flat(0.5))
    paths = list(model.state)
    assert any("momentum" in path for path in paths) and any("iteration" in path for path in paths)
    assert not any("learning_rate" in path for path in paths)


def test_intervals_are_due_once_each_however_many_steps_an_execution_has():
    for steps in (1, 2, 3, 7):
        ends = [min(end, 30) for end in range(steps, 30 + steps, steps)]
        due = [end for before, end in zip([0, *ends], ends, strict=False) if is_due(10, before, end)]
        assert [end - end % 10 for end in due] == [10, 20, 30]
    assert not is_due(0, 0, 10)
    assert [step for step in range(1, 10) if is_due(1.5, step - 1, step)] == [2, 3, 5, 6, 8, 9]


def test_images_too_large_for_exact_counts_are_refused():
    with pytest.raises(ConfigError, match="16,777,216 pixels or more: use --downsample"):
        make_model(shape=ImageShape(1, 4096, 4096))
