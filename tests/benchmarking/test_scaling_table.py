"""What the table counts of a network."""

import pytest

from cosmictagger_tf.benchmarking.scaling_table import scaling_table
from cosmictagger_tf.config import DataConfig, DistributedConfig, NetworkConfig, ScalingConfig

SMALL = {"n_initial_filters": 2, "network_depth": 2, "blocks_per_layer": 0, "blocks_deepest_layer": 0}
SMALL |= {"blocks_final": 0, "bottleneck_deepest": 4, "filter_size_deepest": 3}
HEADS = {"event_head": True, "event_filters": 4, "event_blocks": 1}
HEADS |= {"vertex_head": True, "vertex_filters": 4, "vertex_blocks": 1, "vertex_depth": 1}


@pytest.mark.parametrize(
    "form", [{"conv_mode": "2D"}, {"conv_mode": "sparse", "head_design": "sites"}], ids=["2D", "sparse_sites"]
)
def test_heads_are_counted(form):
    weights, seconds = [], []
    for heads in ({}, HEADS):
        network, data = NetworkConfig(**SMALL, **form, **heads), DataConfig(downsample=5)
        scaling = ScalingConfig(rank_counts=("1", "8"), device_tflops=1e-3)
        first, _, _, one, _ = scaling_table(scaling, network, data, DistributedConfig()).splitlines()
        weights.append(int(first.split()[0].replace(",", "")))
        seconds.append(float(one.split()[2]))
    assert weights[0] < weights[1] and seconds[0] < seconds[1]
