"""No update from numbers that are not finite, and none after one: on every backend, where the update is made."""

import keras
from keras import ops

from cosmictagger_tf.backend import all_finite

# Float16 gradients that are not finite are the loss scale's fault, which then halves, unless it is below this already.
LOWEST_SCALE = 2.0**-10


class GuardedOptimizer(keras.optimizers.Optimizer):
    """Gives gradients to another optimizer as long as all of them were finite; wraps it as LossScaleOptimizer does.

    Args:
        inner_optimizer: makes the updates.

    Attributes:
        steps: int32 [], the calls of `apply` so far that were passed on.
        fault: int32 [], 1 once gradients or their loss were not finite: from then on nothing is passed on.
        loss_fault: float32 [], above 0 where the loss of the present step is not finite. On JAX, where an optimizer can
            store nothing of a loss, always 0: the gradients alone count. None of the three is saved.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str = "guard"):
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    def build(self, variables):
        """Makes the variables of both."""
        self.steps = self.add_variable((), dtype="int32", initializer="zeros", name="steps")
        self.fault = self.add_variable((), dtype="int32", initializer="zeros", name="fault")
        self.loss_fault = self.add_variable((), dtype="float32", initializer="zeros", name="loss_fault")
        self.inner_optimizer.build(variables)
        super().build(variables)

    @property
    def variables(self):
        """Its own, then the inner optimizer's."""
        return self._variables + self.inner_optimizer.variables

    def is_sound(self, gradients):
        """bool []: whether an update may be made of them."""
        sound = all_finite(gradients)
        if isinstance(self.inner_optimizer, keras.optimizers.LossScaleOptimizer):
            sound = ops.logical_or(sound, self.inner_optimizer.dynamic_scale.value > LOWEST_SCALE)
        # No scale mends a loss.
        return ops.logical_and(sound, self.loss_fault.value <= 0)

    def apply(self, gradients, trainable_variables=None):
        """Passes the gradients on, or notes the fault."""
        self._note(gradients)

        def update():
            self.inner_optimizer.apply(gradients, trainable_variables)

        ops.cond(self.fault.value == 0, update, lambda: None)

    def _note(self, gradients):
        fault = ops.maximum(self.fault.value, ops.cast(ops.logical_not(self.is_sound(gradients)), "int32"))
        self.fault.assign(fault)
        self.steps.assign(self.steps.value + 1 - fault)

    def stateless_apply(self, optimizer_variables, gradients, trainable_variables):
        """As `apply`, for JAX: returns the new values of the trained variables and of `variables`."""
        with keras.StatelessScope(list(zip(self.variables, optimizer_variables, strict=True))) as scope:
            self._note(gradients)
        own = [scope.get_current_value(variable) for variable in self._variables]
        before = list(optimizer_variables[len(own) :])
        trained, inner = ops.cond(
            scope.get_current_value(self.fault) == 0,
            lambda: self.inner_optimizer.stateless_apply(before, gradients, list(trainable_variables)),
            lambda: (list(trainable_variables), before),
        )
        return trained, [*own, *inner]

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self):
        """The updates that the inner optimizer counts."""
        return self.inner_optimizer.iterations

    def scale_loss(self, loss):
        """As the inner optimizer does; notes whether the loss is finite."""
        self.loss_fault.assign(ops.cast(ops.logical_not(ops.isfinite(loss)), "float32"))
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, variables):
        self.inner_optimizer.finalize_variable_values(variables)
