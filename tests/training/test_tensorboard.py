"""What TensorBoard is told, wherever the run's folder is."""

import os

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.training.tensorboard import Scalars, write_hyperparameters


def test_names_that_are_no_utf8_are_written_where_they_are_and_shown_readably(tmp_path):
    logs = tmp_path / os.fsdecode(b"caf\xe9") / "logs"
    data = DataConfig(file=(os.fsdecode(b"lat\xe9,1.h5"),))
    write_hyperparameters(logs, {"data": data}, os.fsdecode(b"r\xe9"), validated=False)
    scalars = Scalars(logs, 1)
    scalars.write({"split": "train", "step": 1, "loss": 1.0})
    scalars.close()
    (parameters, events) = sorted((logs / "train").iterdir(), key=lambda path: path.name)
    assert b'"lat\\xe9,1.h5"' in parameters.read_bytes() and events.stat().st_size
