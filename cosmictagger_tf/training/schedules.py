"""Learning rates as functions of the step alone, so that a resumed run continues them.

Each takes a step, counted from 0, and gives a float32 scalar. A step is one batch, everywhere:
where gradients are accumulated over N steps, the schedule still counts steps, and an update takes the rate of its last.
"""

import math

import keras
from keras import ops

from cosmictagger_tf.config import OptimizerConfig


class Flat(keras.optimizers.schedules.LearningRateSchedule):
    """The same rate always.

    A schedule and not a Keras variable: a variable would be restored from a checkpoint, over what the flags ask for.

    Args:
        rate: the learning rate.
    """

    def __init__(self, rate: float):
        self.rate = rate

    def __call__(self, step):
        return ops.convert_to_tensor(self.rate, "float32")

    def get_config(self):
        return {"rate": self.rate}


class WarmupFlatDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly, stays, falls exponentially (by equal factors in equal times), stays at the floor.

    Args:
        start, peak, floor: learning rates; floor > 0.
        warmup, flat, decay: lengths in steps; 0 leaves a part out.
    """

    def __init__(self, start: float, peak: float, floor: float, warmup: float, flat: float, decay: float):
        self.start, self.peak, self.floor = start, peak, floor
        self.warmup, self.flat, self.decay = warmup, flat, decay

    def __call__(self, step):
        step = ops.cast(step, "float32")
        risen = ops.clip(step / self.warmup, 0.0, 1.0) if self.warmup else 1.0
        after = step - (self.warmup + self.flat)
        fallen = ops.clip(after / self.decay, 0.0, 1.0) if self.decay else ops.cast(after >= 0, "float32")
        rising = self.start + (self.peak - self.start) * risen
        return ops.where(after > 0, self.peak * ops.exp(fallen * math.log(self.floor / self.peak)), rising)

    def get_config(self):
        return {name: getattr(self, name) for name in ("start", "peak", "floor", "warmup", "flat", "decay")}


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises and falls once over the whole training, each as half a cosine (L. N. Smith, arXiv:1708.07120).

    Args:
        start, peak, floor: learning rates at the first step, at the top and at the last step.
        steps: of the whole training.
        rise: part of the steps in which the rate rises.
    """

    def __init__(self, start: float, peak: float, floor: float, steps: int, rise: float):
        self.start, self.peak, self.floor, self.steps, self.rise = start, peak, floor, steps, rise

    def __call__(self, step):
        last = max(self.steps - 1, 1)
        top = self.rise * last
        step = ops.cast(step, "float32")
        rising = _half_cosine(self.start, self.peak, step / max(top, 1.0))
        falling = _half_cosine(self.peak, self.floor, (step - top) / max(last - top, 1.0))
        return ops.where(step < top, rising, falling)

    def get_config(self):
        return {name: getattr(self, name) for name in ("start", "peak", "floor", "steps", "rise")}


def _half_cosine(begin, end, progress):
    return begin + (end - begin) * (1.0 - ops.cos(math.pi * ops.clip(progress, 0.0, 1.0))) / 2


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a factor that rises linearly from 1.

    Args:
        schedule: what is multiplied.
        factor: where the rise ends.
        rise: its length in steps.
    """

    def __init__(self, schedule, factor: float, rise: float):
        self.schedule, self.factor, self.rise = schedule, factor, rise

    def __call__(self, step):
        risen = ops.clip(ops.cast(step, "float32") / self.rise, 0.0, 1.0) if self.rise else 1.0
        return self.schedule(step) * (1.0 + (self.factor - 1.0) * risen)

    def get_config(self):
        return {"schedule": self.schedule, "factor": self.factor, "rise": self.rise}


def scaling_factor(scaling: str, ranks: int) -> float:
    """What many ranks multiply the learning rate by: "none" 1, "linear" their number, "sqrt" its root."""
    return {"none": 1.0, "linear": float(ranks), "sqrt": math.sqrt(ranks)}[scaling]


def build_schedule(config: OptimizerConfig, steps_per_epoch: float, steps: int):
    """The schedule that a config means.

    Args:
        config: lengths are in epochs.
        steps_per_epoch: steps (batches) of a pass over the data.
        steps: of the whole training.
    """
    rates = (config.lr_start, config.learning_rate, config.lr_floor)
    if config.lr_schedule == "warmup_flat_decay":
        lengths = (config.lr_warmup_epochs, config.lr_flat_epochs, config.lr_decay_epochs)
        return WarmupFlatDecay(*rates, *(epochs * steps_per_epoch for epochs in lengths))
    if config.lr_schedule == "one_cycle":
        return OneCycle(*rates, steps, config.lr_rise_fraction)
    return Flat(config.learning_rate)
