"""Options of the calibration of trained weights."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.errors import ConfigError


@dataclass(frozen=True)
class CalibrateConfig(Config):
    """Calibration: what the working points may keep, and where the record is written"""

    output: str = option(
        "", "the JSON record to write; default: beside the weights, where the other commands look for it", path=True
    )
    overwrite: bool = option(False, "replace the record if it exists")
    training_prior: float = option(
        0.0,
        "share of readouts with a neutrino in the training, of those whose class is known; 0 = as the run's "
        "history.csv counted it",
        minimum=0.0,
        maximum=1.0,
    )
    kept: float = option(
        0.01,
        "working point selection: keep at most this share of the readouts with cosmic rays only, by the probability "
        "of a neutrino",
        minimum=0.0,
        maximum=1.0,
    )
    kept_by_pixels: float = option(
        0.04,
        "working point selection: leave more than 10 neutrino pixels on every plane of at most this share of the "
        "readouts with cosmic rays only",
        minimum=0.0,
        maximum=1.0,
    )

    def check(self):
        if self.output and not self.output.endswith(".json"):
            raise ConfigError(f"--output={self.output}: must end in .json")
