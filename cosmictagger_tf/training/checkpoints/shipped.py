"""Trained networks that come with the package: weights/<name>.weights.h5, described in <name>.json.

How each was trained, on what, and what it reaches: docs/model_card.md. `scripts/ship_weights` writes them.
"""

import shutil
from pathlib import Path

from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import SHIPPED_WEIGHTS
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.files import read_json, replaced_file, sha256, write_json
from cosmictagger_tf.runs import SECTIONS, AnyConfig, RunFolder, section_of, shape_in
from cosmictagger_tf.training.checkpoints.store import WEIGHTS_FILE, CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError

FOLDER = Path(__file__).parents[2] / "weights"


class ShippedModel:
    """One of config.SHIPPED_WEIGHTS.

    Attributes:
        path: the file of weights.
        step: how many steps they were trained.
        calibration: how their logits are used by default.

    Raises:
        CheckpointError: a file is missing or damaged, or its calibration is of a newer version.
    """

    def __init__(self, name: str):
        assert name in SHIPPED_WEIGHTS, name
        self.path = FOLDER / f"{name}.weights.h5"
        try:
            self.record = read_json(FOLDER / f"{name}.json")
            whole = sha256(self.path) == self.record["sha256"]
        except (FileNotFoundError, ValueError, KeyError):
            whole = False
        if not whole:
            raise CheckpointError(f"--weights={name}: {self.path} is missing or damaged: install the package again")
        self.step = int(self.record["step"])
        try:
            self.calibration = Calibration.of_weights(self.record)
        except CalibrationError as error:
            raise CheckpointError(f"--weights={name}: {FOLDER / name}.json: {error}") from None

    @property
    def image_shape(self) -> ImageShape | None:
        """The full-resolution shape of the images that it was trained on."""
        return shape_in(self.record)

    def config(self, kind: type[AnyConfig]) -> AnyConfig:
        """What the network was trained with."""
        return section_of(self.record, kind)


def ship(folder: RunFolder, step: int, name: str, calibration: Calibration, into: Path = FOLDER):
    """Copies a checkpoint of a run to the weights that come with the package.

    Args:
        folder: the run's.
        step: of an intact checkpoint.
        name: what it will be called.
        calibration: stored beside the weights, which stay as they are.
        into: the folder of both files.

    Raises:
        CheckpointError: the checkpoint is not intact.
    """
    store = CheckpointStore(folder.checkpoints)
    store.verify(step)
    record = folder.record() or {}
    config = {section: record["config"][section] for section in SECTIONS.values() if section in record["config"]}
    # The files' names, without this machine's folders.
    config["data"]["file"] = [Path(path).name for path in config["data"]["file"]]
    into.mkdir(exist_ok=True)
    with replaced_file(into / f"{name}.weights.h5") as beside:
        shutil.copyfile(store.path(step) / WEIGHTS_FILE, beside)
    content = {
        "config": config,
        "step": step,
        "calibration": calibration.to_dict(),
        "events": record.get("events"),
        "image_shape": record.get("image_shape"),
        "git_commit": record.get("git_commit"),
        "sha256": sha256(into / f"{name}.weights.h5"),
    }
    write_json(into / f"{name}.json", content)
