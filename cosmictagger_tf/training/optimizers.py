"""Optimizers by name: Keras's own, Adam's update in one operation a variable, and Muon."""

import contextlib

import keras
from keras import ops

from cosmictagger_tf.config import OptimizerConfig
from cosmictagger_tf.training.guard import GuardedOptimizer
from cosmictagger_tf.training.orthogonalization import is_matrix, matrix_shape, orthogonalize


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow."""
    return keras.backend.backend() == "tensorflow"


class OneOperation(keras.optimizers.Adam):
    """Adam's update of a variable, by TensorFlow's one operation for it where Keras writes some twenty.

    The same formula (Kingma and Ba, arXiv:1412.6980, end of section 2) with over a third fewer operations in a step's
    graph and no tensors in between; equal but for rounding (`tests/training/test_optimizers.py`). Without amsgrad. On
    other backends, Keras's own.
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if not on_tensorflow():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        import tensorflow as tf

        # What all variables share is computed once.
        step = tf.cast(self.iterations + 1, "float32")
        beta1, beta2, epsilon = (tf.constant(value) for value in (self.beta_1, self.beta_2, self.epsilon))
        self._shared = {
            "beta1_power": beta1**step,
            "beta2_power": beta2**step,
            "lr": tf.cast(learning_rate, "float32"),
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
        }
        # Not by way of Keras, which asks tf.distribute about each variable.
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)
        del self._shared

    def update_step(self, gradient, variable, learning_rate):
        """Changes the variable and its two moments in place; the rate is in what all variables share."""
        if not on_tensorflow():
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        own = (variable, self._momentums[index], self._velocities[index])
        # Keras hands the trained ones over as TensorFlow's.
        parameter, momentum, velocity = (v.value if isinstance(v, keras.Variable) else v for v in own)
        tf.raw_ops.ResourceApplyAdam(
            var=parameter.handle,
            m=momentum.handle,
            v=velocity.handle,
            grad=tf.cast(gradient, variable.dtype),
            **self._shared,
        )


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Adam(OneOperation):
    """Keras's Adam, with one operation a variable."""


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class AdamW(OneOperation, keras.optimizers.AdamW):
    """Keras's AdamW, with one operation a variable."""


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Muon(Adam):
    """Kernels change by their orthogonalized momentum; biases, normalisations and the last layer by Adam.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024): momentum 0.95, Nesterov's. A
    kernel's update has the root mean square that Adam's have, 0.2 (J. Liu et al., arXiv:2502.16982, section 2.2), so
    that Adam's learning rates hold for both.
    """

    MOMENTUM = 0.95
    ROOT_MEAN_SQUARE = 0.2

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        pairs = list(zip(grads, trainable_variables, strict=True))
        kernels = [pair for pair in pairs if is_matrix(pair[1].shape)]
        others = [pair for pair in pairs if not is_matrix(pair[1].shape)]
        if others:
            gradients, variables = zip(*others, strict=True)
            super()._backend_update_step(gradients, variables, learning_rate)
        for shape in sorted({matrix_shape(variable.shape) for _, variable in kernels}):
            alike = [pair for pair in kernels if matrix_shape(pair[1].shape) == shape]
            self.move(alike, shape, learning_rate)

    def move(self, pairs: list, shape, learning_rate):
        """Changes kernels, which are matrices of one shape, and their momentum in place, by their gradients."""
        gradients, variables = zip(*pairs, strict=True)
        momenta = [self._momentums[self._get_variable_index(variable)] for variable in variables]
        # All as one batch: a graph has few operations, and the products of small matrices run together.
        gradient = ops.stack([ops.reshape(ops.cast(each, "float32"), shape) for each in gradients])
        momentum = self.MOMENTUM * ops.stack([ops.reshape(each, shape) for each in momenta]) + gradient
        update = orthogonalize(gradient + self.MOMENTUM * momentum)
        # An orthogonal matrix has the root mean square 1 / sqrt(longer side).
        size = ops.cast(learning_rate, "float32") * self.ROOT_MEAN_SQUARE * max(shape) ** 0.5
        for own, new in zip(momenta, ops.unstack(momentum, len(pairs)), strict=True):
            self.assign(own, ops.reshape(new, own.shape))
        for variable, change in zip(variables, ops.unstack(size * update, len(pairs)), strict=True):
            self.assign_sub(variable, ops.reshape(change, variable.shape))


OPTIMIZERS = {
    "adam": Adam,
    "adamw": AdamW,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "muon": Muon,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(config: OptimizerConfig, learning_rate, scale_loss: bool = False) -> GuardedOptimizer:
    """The Keras optimizer of an OptimizerConfig, guarded.

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
        **({"weight_decay": config.adamw_decay} if config.optimizer == "adamw" else {}),
    )
    if config.optimizer == "adamw":
        # The usual exceptions (I. Loshchilov, F. Hutter, arXiv:1711.05101, decay the weights; neither shift nor scale).
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return GuardedOptimizer(keras.optimizers.LossScaleOptimizer(optimizer) if scale_loss else optimizer)


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that makes the updates, inside the guard and the loss scaling."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


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
    own = [keras.ops.convert_to_numpy(variable.value).copy() for variable in variables]
    if int(inner._iterations) > 0:
        for variable, average in zip(variables, inner._model_variables_moving_average, strict=True):
            # A copy: on JAX both would be one array, which the next step takes as its own.
            variable.assign(ops.copy(average.value))
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
