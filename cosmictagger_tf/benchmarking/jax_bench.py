"""A network and its training step, compiled by JAX."""

import jax

from cosmictagger_tf.benchmarking.bench import Bench
from cosmictagger_tf.benchmarking.jax_operations import count
from cosmictagger_tf.training.jax_step import JaxStep, refuse_step
from cosmictagger_tf.training.optimizers import build_optimizer


class JaxBench(Bench):
    """The same network, loss and optimizer as one function compiled by jax.jit, as jax_trainer.py trains with."""

    def __init__(self, network, optimizer, settings, shape):
        refuse_step(network, settings)
        super().__init__(network, optimizer, settings, shape)
        self.update = JaxStep(
            self.segmenter, build_optimizer(optimizer, optimizer.learning_rate), optimizer.loss_balance_scheme
        )
        self.state = self.update.state()
        self._forward = jax.jit(self._logits)
        self._step = jax.jit(self.update, donate_argnums=0)

    def _logits(self, state, batch):
        with self.update.holding(*state[:2]):
            return self.segmenter.pixel_logits(batch, training=False)

    def prepared(self, batch) -> dict:
        """As ahead of a training step."""
        batch = self.segmenter.prepare(batch) if self.segmenter.prepare else batch
        # JAX takes no 64-bit integers unless told to; the step needs no entries.
        return {name: jax.numpy.asarray(array) for name, array in batch.items() if name != "entries"}

    def run_forward(self, batch):
        """In inference mode."""
        return self._forward(self.state, batch)

    def run_step(self, batch):
        """The state of before is gone."""
        self.state, found = self._step(self.state, batch)
        return found.loss

    def operations(self, batch) -> int:
        """Of convolutions and matrix products."""
        return count(jax.make_jaxpr(self.update)(self.state, batch).jaxpr)
