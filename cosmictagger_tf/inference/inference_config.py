"""The configs of the commands that use trained weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    RanksConfig,
    ReadoutsConfig,
    SkipConfig,
    TruthConfig,
    WeightsConfig,
)


@dataclass(frozen=True)
class InferenceConfig:
    """What those commands have in common.

    Attributes:
        explicit: the options that were set, and their values, by name. A trained model has its own architecture,
            resolution, producers and working point, which only explicit options replace or contradict.
    """

    output: OutputConfig = field(default_factory=OutputConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    distributed: RanksConfig = field(default_factory=RanksConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)
    explicit: Mapping[str, Any] = field(default_factory=dict)
    truth: TruthConfig = field(default_factory=TruthConfig)
    readouts: ReadoutsConfig = field(default_factory=ReadoutsConfig)

    @property
    def network_options(self) -> dict[str, Any]:
        """The explicit options of the network."""
        return {f.name: self.explicit[f.name] for f in fields(NetworkConfig) if f.name in self.explicit}

    @property
    def network(self) -> NetworkConfig:
        """The architecture that these alone describe."""
        return NetworkConfig(**self.network_options)
