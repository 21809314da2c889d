"""Trains a small network under both wirings and prints how the loss falls. Run by hand, not by pytest.

python -m tests.networks.measure_wirings sbnd_sample.h5 --downsample=3 --steps=120 --seeds=3
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

OWN = argparse.ArgumentParser(description=__doc__)
OWN.add_argument("file")
OWN.add_argument("--downsample", type=int, default=3)
OWN.add_argument("--steps", type=int, default=120)
OWN.add_argument("--seeds", type=int, default=3)
OWN.add_argument("--learning_rate", type=float, default=3e-3)
OWN.add_argument("--preset", default="uresnet", choices=("uresnet", "a21"))
WIDTH = {"n_initial_filters": 4, "network_depth": 4, "bottleneck_deepest": 32}


def main() -> None:
    """Prints two lines a training: losses and non-background accuracy along it, in training and inference mode."""
    own = OWN.parse_args()
    import keras
    import numpy as np
    import tensorflow as tf

    from cosmictagger_tf import execution
    from cosmictagger_tf.config import DataConfig, ExecutionConfig, with_changes
    from cosmictagger_tf.data.batch import make_batch
    from cosmictagger_tf.data.dataset import open_reader
    from cosmictagger_tf.data.transforms import downsample_event
    from cosmictagger_tf.networks.build import build_segmenter
    from cosmictagger_tf.networks.presets import PRESETS
    from cosmictagger_tf.training.losses import per_image_loss

    reader = open_reader(DataConfig(file=(own.file,)))
    events = [downsample_event(reader.read(i), own.downsample) for i in range(len(reader))]
    batches = [make_batch([event], 1, event.shape) for event in events]

    def train(wiring, seed):
        execution.prepare(ExecutionConfig(seed=seed))
        segmenter = build_segmenter(with_changes(PRESETS[own.preset], wiring=wiring, **WIDTH), events[0].shape)
        weights = segmenter.network.trainable_weights
        optimizer = keras.optimizers.Adam(own.learning_rate)
        optimizer.build(weights)

        @tf.function
        def step(batch):
            with tf.GradientTape() as tape:
                found = segmenter(batch, training=True)
                loss = tf.reduce_mean(per_image_loss(found.labels, found.logits, "light"))
            gradients = tape.gradient(loss, weights)
            optimizer.apply(gradients, weights)
            return loss, tf.linalg.global_norm(gradients)

        @tf.function
        def evaluate(batch):
            found = segmenter(batch, training=False)
            there = found.labels > 0
            right = (tf.argmax(found.logits, -1, tf.int32) == found.labels) & there
            loss = tf.reduce_mean(per_image_loss(found.labels, found.logits, "light"))
            return loss, tf.reduce_sum(tf.cast(right, tf.float32)) / tf.reduce_sum(tf.cast(there, tf.float32))

        losses, norms = zip(
            *((float(v) for v in step(batches[i % len(batches)])) for i in range(own.steps)), strict=True
        )
        means = [float(np.mean(part)) for part in np.array_split(np.array(losses), 6)]
        held = np.mean([[float(v) for v in evaluate(batch)] for batch in batches], axis=0)
        print(
            f"{wiring} seed {seed}: loss {' '.join(f'{v:.3f}' for v in means)}; in inference mode {held[0]:.3f}, "
            f"non-background {held[1]:.3f}; gradient norm first {norms[0]:.2f}, median {np.median(norms):.2f}, "
            f"largest {max(norms):.2f}",
            flush=True,
        )

    for seed in range(own.seeds):
        for wiring in ("pytorch", "tensorflow"):
            train(wiring, seed)


if __name__ == "__main__":
    main()
