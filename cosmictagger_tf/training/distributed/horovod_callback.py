"""Horovod for a model.fit of your own, as one callback."""

import keras
import numpy as np

from cosmictagger_tf.config import DistributedConfig
from cosmictagger_tf.training.distributed.exchange import GradientExchange
from cosmictagger_tf.training.distributed.jobs import connect
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.schedules import scaling_factor


class HorovodCallback(keras.callbacks.Callback):
    """Trains one model with all ranks: starts equal, averages gradients, sums metrics, warms up, fails together.

    Give it to fit as the first callback, so that the others see the metrics over all ranks, and let each rank read its
    own data. It wraps the optimizer of the compiled model, and turns XLA off, which Horovod's operations cannot be
    part of. With one rank it changes nothing.

        ranks = connect()
        model.compile(optimizer, loss, metrics)
        mine = dataset.shard(ranks.size, ranks.rank)
        model.fit(mine, callbacks=[HorovodCallback(ranks)], verbose=int(ranks.rank == 0))

    All ranks must be given the same number of batches. The metrics' states must add up, as those of Keras do. Where a
    rank fails or is lost, fit raises on the others. For callbacks that stop fit at a batch see StopTogether.

    Args:
        ranks: see distributed.connect.
        config: compression, groups, and scaling of the learning rate (the optimizer's must be a number, no schedule).

    Raises:
        ValueError: lr_scaling with a learning-rate schedule.
    """

    def __init__(self, ranks: Ranks | None = None, config: DistributedConfig | None = None):
        super().__init__()
        self.ranks = ranks or connect()
        self.config = config or DistributedConfig()
        self.rate: float | None = None
        self.exchange: GradientExchange | None = None
        self.training: dict | None = None
        self.validation: dict = {}

    def set_model(self, model):
        """Puts the exchange of gradients between the model and its optimizer, before fit makes its step."""
        super().set_model(model)
        if self.ranks.size == 1 or self.exchange:
            return
        optimizer = model.optimizer
        if self.config.lr_scaling != "none":
            if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
                raise ValueError("HorovodCallback: lr_scaling takes a learning rate that is a number, not a schedule")
            self.rate = float(optimizer.learning_rate)
        self.exchange = GradientExchange(self.ranks, self.config)
        self.exchange.install(optimizer)
        model.jit_compile = False
        model.train_function = None

    def on_train_begin(self, logs=None):
        """Starts every rank from rank 0's weights and optimizer state."""
        if self.exchange:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            self.ranks.broadcast([*self.model.variables, *self.model.optimizer.variables])

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the epoch, of which the learning rate is a function, and forgets what was evaluated before it."""
        self.epoch, self.training, self.validation = epoch, None, {}

    def on_train_batch_begin(self, batch, logs=None):
        if self.rate is not None:
            steps = self.params.get("steps") or 1
            epochs = self.epoch + batch / steps
            factor = scaling_factor(self.config.lr_scaling, self.ranks.size)
            risen = min(1.0, epochs / self.config.lr_scaling_epochs) if self.config.lr_scaling_epochs else 1.0
            self.model.optimizer.learning_rate = self.rate * (1.0 + (factor - 1.0) * risen)

    def on_test_begin(self, logs=None):
        """Notes the training's metrics over all ranks, which the validation inside an epoch resets; one network's."""
        self._share_statistics()
        self.training = self._over_ranks()

    def on_test_end(self, logs=None):
        """Puts the validation's metrics over all ranks into the logs, now and at the epoch's end."""
        self.validation = self._over_ranks()
        if logs:
            logs.update(self.validation)

    def on_epoch_end(self, epoch, logs=None):
        """Puts the training's metrics over all ranks into the logs; what is saved then is one network on all."""
        self._share_statistics()
        if logs:
            logs.update(self._over_ranks() if self.training is None else self.training)
            logs.update({f"val_{name}": value for name, value in self.validation.items() if f"val_{name}" in logs})
        self.training, self.validation = None, {}

    def _share_statistics(self):
        # Each rank moves the statistics of its normalisations by its own part of the data.
        self.ranks.average([v for v in self.model.non_trainable_weights if "float" in v.dtype])

    def _over_ranks(self):
        if not self.exchange:
            return {}
        variables = [variable for metric in self.model.metrics for variable in metric.variables]
        own = [variable.numpy() for variable in variables]
        for variable, total in zip(variables, self.ranks.sum(own), strict=True):
            variable.assign(total)
        values = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
        return values


class StopTogether(keras.callbacks.Callback):
    """Stops fit on all ranks where a callback before it in the list stopped it on one; belongs at the list's end.

    Args:
        ranks: see distributed.connect.
    """

    def __init__(self, ranks: Ranks):
        super().__init__()
        self.ranks = ranks

    def on_train_batch_end(self, batch, logs=None):
        self._agree()

    def on_epoch_end(self, epoch, logs=None):
        self._agree()

    def _agree(self):
        stopping = self.ranks.sum([np.array(int(self.model.stop_training))])[0]
        self.model.stop_training = bool(stopping)
