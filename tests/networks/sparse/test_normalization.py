"""Normalisation over active sites, as TensorFlow runs it."""

import os
import subprocess
import sys

import pytest

from tests.commands import ROOT

GROUPS = """
import tensorflow as tf
from cosmictagger_tf.networks.sparse.normalization import SiteGroups

@tf.function
def mean(images, x):
    rows, share, size = groups(images)
    return tf.matmul(share, x)

for planes in (1, 3):
    groups = SiteGroups(planes)
    means = mean(tf.constant([0, 1, 4, -1]), tf.constant([[1.0], [2.0], [6.0], [9.0]]))
    print(means.numpy().ravel().tolist())
    mean = tf.function(mean.python_function)
"""


@pytest.mark.slow
def test_onednn_has_nothing_to_say_on_an_older_processor():
    """It has where booleans are transposed and the processor lacks AVX-512; elsewhere this sees the values alone."""
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", GROUPS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[3.0]", "[1.0, 4.0, 0.0]"]
    assert "oneDNN supports" not in done.stderr
