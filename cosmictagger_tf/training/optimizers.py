"""Optimizers by name: Keras's own, Adam's update in one operation a variable."""

import contextlib

import keras
import tensorflow as tf

from cosmictagger_tf.config import OptimizerConfig


def update_in_one_operation(optimizer, gradient, variable, learning_rate):
    """Adam's update of a variable, by TensorFlow's one operation for it where Keras writes some twenty.

    The same formula (Kingma and Ba, arXiv:1412.6980, end of section 2) with a third fewer operations in a step's graph
    and no tensors in between; equal but for rounding (`tests/training/test_optimizers.py`).

    Args:
        optimizer: a Keras Adam without amsgrad, built.
        gradient: of the variable.
        variable: one of the optimizer's; it and its two moments are changed in place.
        learning_rate: scalar.
    """
    index = optimizer._get_variable_index(variable)
    own = (variable, optimizer._momentums[index], optimizer._velocities[index])
    # Keras hands the trained ones over as TensorFlow's.
    parameter, momentum, velocity = (v.value if isinstance(v, keras.Variable) else v for v in own)
    dtype = variable.dtype
    step = tf.cast(optimizer.iterations + 1, dtype)
    beta1, beta2 = (tf.constant(beta, dtype) for beta in (optimizer.beta_1, optimizer.beta_2))
    tf.raw_ops.ResourceApplyAdam(
        var=parameter.handle,
        m=momentum.handle,
        v=velocity.handle,
        beta1_power=beta1**step,
        beta2_power=beta2**step,
        lr=tf.cast(learning_rate, dtype),
        beta1=beta1,
        beta2=beta2,
        epsilon=tf.constant(optimizer.epsilon, dtype),
        grad=tf.cast(gradient, dtype),
    )


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Adam(keras.optimizers.Adam):
    """Keras's Adam, with one operation a variable."""

    update_step = update_in_one_operation


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, with one operation a variable."""

    update_step = update_in_one_operation


OPTIMIZERS = {
    "adam": Adam,
    "adamw": AdamW,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(config: OptimizerConfig, learning_rate, scale_loss: bool = False) -> keras.optimizers.Optimizer:
    """The Keras optimizer of an OptimizerConfig.

    Args:
        learning_rate: a rate or a schedule.
        scale_loss: for float16: the loss is multiplied by a scale that is doubled every 2,000 steps, and halved where
            a gradient is not finite; that step makes no update and does not count for the schedule.
    """
    optimizer = OPTIMIZERS[config.optimizer](
        learning_rate=learning_rate,
        gradient_accumulation_steps=config.gradient_accumulation if config.gradient_accumulation > 1 else None,
        global_clipnorm=config.clip_norm or None,
        use_ema=bool(config.ema_momentum),
        ema_momentum=config.ema_momentum,
        **({"momentum": config.momentum, "nesterov": bool(config.momentum)} if config.optimizer == "sgd" else {}),
    )
    return keras.optimizers.LossScaleOptimizer(optimizer) if scale_loss else optimizer


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside the loss scaling, if there is any."""
    return getattr(optimizer, "inner_optimizer", optimizer)


@contextlib.contextmanager
def averaged_weights(optimizer: keras.optimizers.Optimizer, variables: list):
    """Inside, the trained variables hold their moving average, where the optimizer keeps one; afterwards their own.

    Args:
        optimizer: built on `variables`.
        variables: the trained variables.
    """
    inner = inner_optimizer(optimizer)
    if not inner.use_ema:
        yield
        return
    # Before the first step the average is 0, and the weights themselves are the best guess.
    own = [variable.numpy() for variable in variables]
    if int(inner._iterations) > 0:
        for variable, average in zip(variables, inner._model_variables_moving_average, strict=True):
            variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
