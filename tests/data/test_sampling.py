"""The order of the data: complete, disjoint, and known from any step on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import SyntheticReader, open_reader
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.data.sampling import FILLER, evaluation_batches, training_entries
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from tests.data.sound_files import sound_file

SEEDS = st.integers(0, 2**32)


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, entries=st.integers(1, 40), ranks=st.integers(1, 6), local=st.integers(1, 5))
def test_every_entry_once_an_epoch_over_all_ranks(seed, entries, ranks, local):
    size, epochs = ranks * local, 3
    steps = -(-entries * epochs // size)
    stream = np.concatenate(
        [training_entries(seed, step, size, entries, rank, ranks) for step in range(steps) for rank in range(ranks)]
    )
    for epoch in stream[: entries * epochs].reshape(epochs, entries):
        assert sorted(epoch) == list(range(entries))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, step=st.integers(0, 10**7), entries=st.integers(1, 43_075), ranks=st.sampled_from([1, 2, 3, 4, 6]))
def test_any_step_is_known_at_once_and_ranks_only_share_it_out(seed, step, entries, ranks):
    whole = training_entries(seed, step, 12, entries)
    parts = [training_entries(seed, step, 12, entries, rank, ranks) for rank in range(ranks)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    if entries >= 24 and step * 12 // entries == (step * 12 + 11) // entries:
        assert len(set(whole)) == 12


@settings(max_examples=60, deadline=None)
@given(entries=st.integers(0, 60), size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_evaluation_takes_every_entry_once_in_order(entries, size, ranks):
    parts = [list(evaluation_batches(entries, size, rank, ranks)) for rank in range(ranks)]
    seen = [entry for part in parts for batch in part for entry in batch if entry != FILLER]
    assert sorted(seen) == list(range(entries))
    for part in parts:
        assert all(len(batch) == size for batch in part)
        order = [entry for batch in part for entry in batch if entry != FILLER]
        assert order == sorted(order)
    assert sum((batch == FILLER).sum() for part in parts for batch in part) < size


def test_fewer_entries_than_ranks_is_one_line(tmp_path):
    config = DataConfig(file=(str(sound_file(tmp_path / "a.h5", entries=3)),), minibatch_size=4, downsample=0)
    with pytest.raises(ConfigError, match=r"a\.h5: 3 entries are too few for 4 ranks"):
        training_dataset(open_reader(config), config, 0, 0, 1, 0, 4)
    # Of random events there are as many as one asks for.
    stream = training_dataset(SyntheticReader(3, ImageShape(3, 32, 64)), config, 0, 0, 1, 3, 4)
    assert [batch["weights"].tolist() for batch in stream.generate()] == [[1.0]]
