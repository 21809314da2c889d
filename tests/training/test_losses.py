"""The balanced loss against plain NumPy, and the properties that training relies on."""

import numpy as np
import pytest

from cosmictagger_tf.training.losses import mean_over_images, per_image_loss

SCHEMES = ("none", "light", "even", "focal")


def reference_loss(labels, logits, scheme):
    """[batch], written as SPEC.md says it, in float64, one plane at a time."""
    losses = []
    for image_labels, image_logits in zip(labels, logits.astype(np.float64), strict=True):
        total = 0.0
        for y, z in zip(image_labels, image_logits, strict=True):
            y, z = y.ravel(), z.reshape(-1, 3)
            p = np.exp(z - z.max(-1, keepdims=True))
            p = (p / p.sum(-1, keepdims=True))[np.arange(len(y)), y]
            weight = {
                "none": lambda y, p: np.ones(len(y)),
                "light": lambda y, p: np.array([1.0, 1.5, 10.0])[y],
                "even": lambda y, p: (1 / (3 * (np.bincount(y, minlength=3) + 1.0)))[y],
                "focal": lambda y, p: (1 - p) ** 2,
            }[scheme](y, p)
            total += (weight * -np.log(p)).sum() / weight.sum()
        losses.append(total)
    return np.array(losses)


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    labels = rng.choice(3, size=(4, 3, 16, 24), p=[0.9, 0.08, 0.02]).astype(np.int32)
    labels[1, 2] = 0  # a plane without any particle
    return labels, (3 * rng.normal(size=(4, 3, 16, 24, 3))).astype(np.float32)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equals_numpy(batch, scheme):
    labels, logits = batch
    losses = np.asarray(per_image_loss(labels, logits, scheme))
    np.testing.assert_allclose(losses, reference_loss(labels, logits, scheme), rtol=2e-6)
    assert float(mean_over_images(losses, np.ones(4))) == pytest.approx(losses.mean(), rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fillers_of_a_partial_batch_do_not_count(batch, scheme):
    labels, logits = batch
    whole = float(mean_over_images(per_image_loss(labels[:3], logits[:3], scheme), np.ones(3)))
    with_filler = float(mean_over_images(per_image_loss(labels, logits, scheme), np.array([1, 1, 1, 0])))
    assert with_filler == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_element_may_stand_for_many_equal_pixels(batch, scheme):
    labels, logits = (a.reshape(4, 3, -1, *a.shape[4:])[:, :, :50] for a in batch)
    times = np.random.default_rng(1).integers(0, 4, size=50)
    repeated = [np.repeat(a, times, axis=2) for a in (labels, logits)]
    multiplicity = np.broadcast_to(times, labels.shape)
    np.testing.assert_allclose(
        per_image_loss(labels, logits, scheme, multiplicity), per_image_loss(*repeated, scheme), rtol=1e-5
    )


def test_focal_weights_carry_no_gradient(batch):
    import tensorflow as tf

    labels, logits = batch[0][:1, :1, :2, :2], tf.Variable(batch[1][:1, :1, :2, :2])
    with tf.GradientTape() as tape:
        loss = per_image_loss(labels, logits, "focal")
    p = tf.nn.softmax(logits).numpy().reshape(4, 3)
    y = np.eye(3)[labels.ravel()]
    weight = (1 - (p * y).sum(-1)) ** 2
    expected = weight[:, None] * (p - y) / weight.sum()
    np.testing.assert_allclose(tape.gradient(loss, logits).numpy().reshape(4, 3), expected, rtol=1e-4, atol=1e-7)


def test_half_precision_logits_do_not_overflow_a_full_plane():
    labels = np.zeros((1, 1, 400, 400), np.int32)  # 160,000 pixels: more than float16 can count
    logits = np.zeros((1, 1, 400, 400, 3), np.float16)
    assert float(per_image_loss(labels, logits, "even")[0]) == pytest.approx(np.log(3), rel=1e-3)


def test_a_plane_that_nothing_weighs_on_has_loss_zero():
    labels, logits = np.zeros((1, 1, 4), np.int32), np.tile(np.array([200.0, 0, 0], np.float32), (1, 1, 4, 1))
    assert float(per_image_loss(labels, logits, "focal")[0]) == 0.0
    assert float(per_image_loss(labels, logits, "none", np.zeros((1, 1, 4)))[0]) == 0.0
