"""What rounding makes of a training's losses: trainings from weights that differ in their last digits."""

import keras
import numpy as np

from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.model import batches_for_fit
from cosmictagger_tf.training.run_config import RunConfig
from cosmictagger_tf.training.trainer import build_model, open_files


def losses_and_rounding(config: RunConfig, weights: list, size: float, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """The losses of a training on TensorFlow, and the most that rounding has changed them by up to each step.

    Args:
        config: of a run by plain SGD at a constant rate: its optimizer holds nothing but a count of steps.
        weights: what the training begins with, as network.get_weights gives it.
        size: of the normal relative errors of these weights in the other trainings.
        trials: how many others.

    Returns:
        float64 [steps], and the greatest relative change [steps].
    """
    reader, _ = open_files(config)
    steps = config.train.iterations
    model = build_model(config, reader, steps, Ranks())

    def losses(start: list) -> list[float]:
        model.network.set_weights(start)
        stream = training_dataset(reader, config.data, config.execution.seed, 0, steps, prepare=model.segmenter.prepare)
        each: list[float] = []
        watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: each.append(float(logs["loss"])))
        model.fit(batches_for_fit(stream), steps_per_epoch=steps, callbacks=[watch], shuffle=False, verbose=0)
        return each

    rng, exact = np.random.default_rng(0), np.array(losses(weights))
    rounded = [losses([w * (1 + size * rng.normal(size=w.shape)) for w in weights]) for _ in range(trials)]
    return exact, np.maximum.accumulate(np.abs(np.array(rounded) / exact - 1).max(axis=0))
