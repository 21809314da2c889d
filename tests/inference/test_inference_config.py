"""What is explicit describes a network, or must agree with the trained one."""

import pytest

from cosmictagger_tf.cli.flags import parse
from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TruthConfig,
    WeightsConfig,
)
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from cosmictagger_tf.runs import RunFolder


@pytest.mark.parametrize("flags", [[], ["--conv_mode=sparse"], ["--preset=a21", "--n_initial_filters=4"]])
def test_the_explicit_options_describe_the_network_of_the_command_line(flags):
    parsed = parse([*flags, "--downsample=2"], (DataConfig, NetworkConfig))
    assert InferenceConfig(explicit=parsed.explicit).network == parsed.configs[1]
    assert parsed.explicit["downsample"] == 2 and "minibatch_size" not in parsed.explicit


def test_an_explicit_option_that_contradicts_the_trained_network_is_refused():
    weights = WeightsConfig(weights="sparse_small")
    with pytest.raises(ConfigError, match=r"another architecture: --n_initial_filters=4, but 8 there$"):
        find_model(InferenceConfig(weights=weights, explicit={"n_initial_filters": 4}))
    with pytest.raises(ConfigError, match="it can be computed as --conv_mode=sparse or"):
        find_model(InferenceConfig(weights=weights, explicit={"conv_mode": "2D"}))
    assert (
        find_model(InferenceConfig(weights=weights, explicit={"n_initial_filters": 8})).network.n_initial_filters == 8
    )
    agreeing = InferenceConfig(weights=weights, explicit={"n_initial_filters": 8, "remat": True})
    assert find_model(agreeing).network.remat


def test_the_truth_is_read_where_the_training_read_it(tmp_path):
    output = OutputConfig(str(tmp_path), "run")
    trained = TruthConfig(producer_vertex="mine", producer_particle="neutrinos")
    configs = {"data": DataConfig(), "network": NetworkConfig(), "optimizer": OptimizerConfig()}
    configs |= {"execution": ExecutionConfig(), "truth": trained}
    folder = RunFolder(output)
    folder.prepare()
    folder.write_record(configs, {})
    weights = WeightsConfig(weights_location=str(tmp_path / "a.weights.h5"))
    explicit = {"run_id": "run", "producer_particle": "others"}
    truth = TruthConfig(producer_particle="others")
    assert find_model(InferenceConfig(output, weights, explicit=explicit, truth=truth)).truth == TruthConfig(
        producer_vertex="mine", producer_particle="others"
    )
    # An older version recorded none.
    del configs["truth"]
    folder.write_record(configs, {})
    assert find_model(InferenceConfig(output, weights, explicit={"run_id": "run"})).truth == TruthConfig()
