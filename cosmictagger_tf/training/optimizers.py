"""Optimizers by name, all of them Keras's own."""

import keras

from cosmictagger_tf.config import OptimizerConfig

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """The Keras optimizer of an OptimizerConfig."""
    accumulation = config.gradient_accumulation if config.gradient_accumulation > 1 else None
    return OPTIMIZERS[config.optimizer](learning_rate=config.learning_rate, gradient_accumulation_steps=accumulation)
