"""One network and its training step, ready to be timed, on any Keras backend."""

import time
from itertools import pairwise

import keras

from cosmictagger_tf.benchmarking.clock import Timing, timed, timing_of
from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.execution import compiles
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.networks.predictor import PixelPredictor
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.optimizers import build_optimizer
from cosmictagger_tf.training.step_cost import step_cost


class StepClock(keras.callbacks.Callback):
    """Notes when the steps of a fit end; the value of the loss is on the host by then.

    Attributes:
        ends: seconds on time.perf_counter, of each step.
        cpu: seconds of CPU time of the process, likewise.
    """

    def __init__(self):
        super().__init__()
        self.ends: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        """Notes a step."""
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def timing(self, warm: int) -> Timing:
        """Of the steps but the first `warm`, at least one."""
        ends, cpu = self.ends[warm - 1 :], self.cpu[warm - 1 :]
        return timing_of([after - before for before, after in pairwise(ends)], cpu[-1] - cpu[0])


class Bench:
    """One network and its training step, ready to be timed.

    Args:
        network, optimizer, execution: as a training takes them.
        shape: of the images.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, execution: ExecutionConfig, shape):
        xla = compiles(execution)
        self.has_heads = network.has_heads
        self.segmenter = build_segmenter(network, shape, static=xla)
        self.predictor = PixelPredictor(self.segmenter, xla)
        self.model = SegmentationModel(self.segmenter, optimizer.loss_balance_scheme)
        self.model.compile(
            optimizer=build_optimizer(optimizer, optimizer.learning_rate, scale_loss=execution.precision == "mixed"),
            jit_compile=xla,
            auto_scale_loss=False,
        )
        self.model.optimizer.build(self.model.network.trainable_variables)

    def batch(self, events: list[Event]) -> dict:
        """The Batch of events, with truth where the network has heads."""
        return make_batch(events, len(events), events[0].shape, truth=self.has_heads)

    def prepared(self, batch: dict) -> dict:
        """The Batch as a training step takes it, with its rulebook where there is one."""
        batch = self.segmenter.prepare(batch) if self.segmenter.prepare else batch
        return {name: array for name, array in batch.items() if name != "entries"}

    def preparing(self, batch, repeats: int) -> Timing:
        """Of the rulebook."""
        return timed(lambda: self.prepared(batch), repeats)

    def forward(self, batch, repeats: int) -> Timing:
        """Of the scores of a prepared batch."""
        return timed(lambda: self.predictor.predict_on_batch(batch), repeats)

    def step(self, batch, repeats: int) -> Timing:
        """Of a training step on a prepared batch, after two that compile it."""
        return self.train(((batch,) for _ in iter(int, 1)), repeats + 2).timing(2)

    def train(self, batches, steps: int, *callbacks: keras.callbacks.Callback) -> StepClock:
        """Trains for so many steps; batches: as fit takes them."""
        clock = StepClock()
        self.model.fit(batches, steps_per_epoch=steps, callbacks=[clock, *callbacks], shuffle=False, verbose=0)
        return clock

    def operations(self, batch) -> int:
        """Floating-point operations of a training step on a prepared batch, in convolutions and matrix products."""
        return step_cost(self.model, batch)[1]
