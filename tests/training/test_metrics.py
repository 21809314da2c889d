"""Metrics against plain NumPy sets, whatever the batches."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.training.metrics import METRICS, SegmentationMetrics, confusion_counts, metrics_from_counts


def reference_metrics(labels, predictions):
    """The headline metrics of one plane of one image, from sets of pixels."""

    def iou(c):
        union = ((labels == c) | (predictions == c)).sum()
        return ((labels == c) & (predictions == c)).sum() / union if union else 1.0

    def of(c, chosen):
        """Part of the chosen pixels that are of class c in both."""
        return ((labels == c) & (predictions == c)).sum() / chosen.sum() if chosen.any() else 1.0

    seen = labels != 0
    classes = ((0, "background"), (1, "cosmic"), (2, "neutrino"))
    return {
        **{f"{name}_precision": of(c, predictions == c) for c, name in classes},
        **{f"{name}_recall": of(c, labels == c) for c, name in classes},
        "accuracy": (labels == predictions).mean(),
        "nonbackground_accuracy": (labels == predictions)[seen].mean() if seen.any() else 1.0,
        "cosmic_iou": iou(1),
        "neutrino_iou": iou(2),
        "mean_iou": (iou(1) + iou(2)) / 2,
    }


@pytest.fixture
def images():
    rng = np.random.default_rng(5)
    labels = rng.choice(3, size=(7, 3, 12, 20), p=[0.8, 0.15, 0.05])
    labels[2, 1] = 0
    logits = (rng.normal(size=(*labels.shape, 3)) + 2 * np.eye(3)[labels]).astype(np.float32)
    return labels.astype(np.int32), logits


def stream(labels, logits, size, dtype=np.float32):
    metric = SegmentationMetrics(3)
    for first in range(0, len(labels), size):
        y, z = labels[first : first + size], logits[first : first + size].astype(dtype)
        missing = size - len(y)
        weight = np.array([1] * len(y) + [0] * missing, np.float32)
        metric.update_state(
            np.concatenate([y, y[:1].repeat(missing, 0)]), np.concatenate([z, -z[:1].repeat(missing, 0)]), weight
        )
    result = {name: float(value) for name, value in metric.result(np).items()}
    # In a graph, in the float that the backend has.
    assert {name: float(value) for name, value in metric.result().items()} == pytest.approx(result, abs=1e-6)
    return result


def test_headline_equals_numpy(images):
    labels, logits = images
    predictions = logits.argmax(-1)
    each = [
        [reference_metrics(y, p) for y, p in zip(*pair, strict=True)] for pair in zip(labels, predictions, strict=True)
    ]
    result = stream(labels, logits, 7)
    assert set(each[0][0]) == set(METRICS)
    for name in METRICS:
        per_plane = np.mean([[plane[name] for plane in image] for image in each], axis=0)
        assert result[name] == pytest.approx(per_plane.mean(), abs=1e-12)
        for plane in range(3):
            assert result[f"{name}/plane{plane}"] == pytest.approx(per_plane[plane], abs=1e-12)


def test_pooled_equals_one_big_image(images):
    labels, logits = images
    result = stream(labels, logits, 3)
    big = [reference_metrics(labels[:, plane].ravel(), logits[:, plane].argmax(-1).ravel()) for plane in range(3)]
    for name in big[0]:
        assert result[f"pooled/{name}"] == pytest.approx(np.mean([b[name] for b in big]), abs=1e-12)


def test_precision_and_recall(images):
    labels, logits = images
    predictions = logits.argmax(-1)
    values = metrics_from_counts(np.asarray(confusion_counts(labels, predictions)))
    y, p = labels[0, 0], predictions[0, 0]
    assert values["neutrino_precision"][0, 0] == pytest.approx((y[p == 2] == 2).mean())
    assert values["cosmic_recall"][0, 0] == pytest.approx((p[y == 1] == 1).mean())


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_batch_size_and_partial_batches_do_not_matter(images, size):
    assert stream(*images, size) == pytest.approx(stream(*images, 7), abs=1e-14)


def test_half_precision_logits_give_the_same_metrics(images):
    labels, logits = images
    # Rounded first, so that both see the same numbers.
    halves = logits.astype(np.float16)
    assert stream(labels, halves, 2, np.float16) == pytest.approx(stream(labels, halves, 7, np.float32), abs=1e-14)


def test_half_precision_logits_give_the_same_counts():
    labels = np.zeros((1, 1, 300, 300), np.int32)  # more than 65,504 pixels
    logits = np.zeros((1, 1, 300, 300, 3), np.float16)
    logits[..., 0] = 1
    metric = SegmentationMetrics(1)
    metric.update_state(labels, logits)
    assert int(metric.counts[0, 0, 0]) == 90_000
    assert float(metric.result()["accuracy"]) == 1.0


def test_counts_do_not_drift_over_the_full_training_set():
    metric = SegmentationMetrics(1)
    counts = np.array([[[[7_900_000, 1, 0], [3, 15_000, 2], [0, 7, 1_000]]]], np.int32)
    many, at_once = 43_075, 1_723
    for _ in range(many // at_once):
        metric.update_from_counts(counts.repeat(at_once, 0), losses=np.full(at_once, 0.1, np.float32))
    assert int(metric.counts[0, 0, 0]) == 7_900_000 * many
    expected = metrics_from_counts(counts)["neutrino_iou"][0, 0]
    result = metric.result(np)
    assert float(result["neutrino_iou"]) == pytest.approx(expected, abs=1e-12)
    assert float(result["pooled/neutrino_iou"]) == pytest.approx(expected, abs=1e-12)
    assert float(result["loss"]) == pytest.approx(np.float32(0.1), rel=1e-12)


def test_a_loss_that_is_no_number_is_told_and_does_not_spoil_the_sums():
    metric, counts = SegmentationMetrics(1), np.ones((3, 1, 3, 3), np.int32)
    metric.update_from_counts(counts, np.array([1.0, 1.0, 0.0], np.float32), np.array([1.0, 2.0, np.nan], np.float32))
    assert float(metric.result(np)["loss"]) == 1.5 and metric.unsound_losses == 0
    metric.update_from_counts(counts, losses=np.array([1.0, np.inf, 2.0**41], np.float32))
    assert np.isnan(metric.result(np)["loss"]) and metric.unsound_losses == 2
    assert int(metric.counts[0, 0, 0]) == 5


def test_an_empty_image_counts_one():
    empty = np.zeros((1, 1, 8), np.int32)
    values = metrics_from_counts(np.asarray(confusion_counts(empty, empty)))
    assert all(values[name][0, 0] == 1.0 for name in METRICS)


def test_multiplicity_equals_repetition(images):
    labels, predictions = images[0].reshape(7, 3, -1), images[1].argmax(-1).reshape(7, 3, -1)
    times = np.random.default_rng(2).integers(0, 5, labels.shape[-1])
    repeated = confusion_counts(np.repeat(labels, times, -1), np.repeat(predictions, times, -1))
    counted = confusion_counts(labels, predictions, np.broadcast_to(times, labels.shape))
    np.testing.assert_array_equal(counted, repeated)


def test_goes_through_keras_serialisation():
    metric = keras.metrics.deserialize(keras.metrics.serialize(SegmentationMetrics(2)))
    assert isinstance(metric, SegmentationMetrics) and metric.planes == 2


def test_classes_are_not_swapped_between_trainer_and_analysis():
    labels = np.array([[[1, 1, 2]]])
    values = metrics_from_counts(np.asarray(confusion_counts(labels, np.array([[[1, 1, 1]]]))))
    assert values["cosmic_iou"][0, 0] == pytest.approx(2 / 3)
    assert values["neutrino_iou"][0, 0] == 0.0
