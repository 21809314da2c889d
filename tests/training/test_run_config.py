"""What a training logs of its options before it begins."""

import pytest

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.run_config import RunConfig, log_unused


def logged(caplog, chosen, *, start=0, total=10, resumed=False, accumulation=1, **train):
    optimizer = OptimizerConfig(gradient_accumulation=accumulation)
    train = TrainConfig(iterations=total, **train)
    configs = (DataConfig(), NetworkConfig(), optimizer, ExecutionConfig(), OutputConfig(), train)
    log_unused(RunConfig(*configs, chosen=frozenset(chosen)), start, total, resumed, Ranks())
    return caplog.messages


def test_all_options_without_effect_stand_in_one_line(caplog):
    lines = logged(caplog, {"profile", "init_from", "lr_floor"}, profile=("11", "12"), init_from="other", resumed=True)
    assert len(lines) == 1
    assert all(lines[0].count(f"--{name} (") == 1 for name in ("profile", "init_from", "lr_floor"))


@pytest.mark.parametrize(("accumulation", "lost"), [(1, 0), (5, 0), (4, 2), (11, 10)])
def test_steps_after_the_last_update_are_named(caplog, accumulation, lost):
    lines = logged(caplog, (), accumulation=accumulation)
    assert lines == (
        [f"--gradient_accumulation={accumulation}: the last {lost} of 10 steps make no update"] if lost else []
    )
