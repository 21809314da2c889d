"""Model loading: a trained network's architecture and weights, from its run's folder or where the options name them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from cosmictagger_tf.calibration.record import read_calibration
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import (
    WORKING_POINTS,
    DataConfig,
    NetworkConfig,
    OptimizerConfig,
    TruthConfig,
    check_image_shape,
)
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import sha256
from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.runs import RunFolder, architecture
from cosmictagger_tf.training.checkpoints.shipped import ShippedModel
from cosmictagger_tf.training.checkpoints.store import BEST, WEIGHTS_FILE, CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, load_weights
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.finetuning import misfits_explained, origin_of

# How a network was trained to see its input: taken from the run unless the option is explicit.
INHERITED_DATA = ("downsample", "producer_image", "producer_label")
# Of the network's options, those that the trained weights know nothing of.
HOW_IT_COMPUTES = ("data_format", "remat", "weight_decay")


@dataclass(frozen=True)
class TrainedModel:
    """What is needed to rebuild a trained network.

    Attributes:
        network: its architecture.
        data: the data config, with what the run was trained with filled in.
        scheme: the loss balance scheme of the run.
        weights: the .weights.h5 file.
        step: the checkpoint's step, None where the weights came from elsewhere.
        checksum: SHA-256 that the file has, where it is known.
        calibration: what turns its logits into probabilities; as they come where none is stored with the weights.
        working_point: which of the calibration's, "pixels" or "selection".
        truth: which products have the truth of whole readouts, with what the run was trained with filled in.
    """

    network: NetworkConfig
    data: DataConfig
    scheme: str
    weights: Path
    step: int | None
    checksum: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    working_point: str = "pixels"
    truth: TruthConfig = field(default_factory=TruthConfig)

    @property
    def point(self) -> WorkingPoint:
        """The working point at which pixels are called."""
        return getattr(self.calibration, self.working_point)

    @property
    def image_shape(self) -> ImageShape | None:
        """The full-resolution shape of the images that it was trained on; None where no record has it."""
        origin = origin_of(self.weights)
        return origin.shape if origin else None

    @property
    def background_shift(self) -> float:
        """What is added to the logarithm of the background's probability at that working point."""
        return self.point.background_shift

    def segmenter(self, shape: ImageShape, static: bool = False, ranks: Ranks | None = None) -> CalibratedSegmenter:
        """The segmenter for full-resolution images of `shape`, weights loaded, its pixels at the working point.

        With several ranks rank 0 loads the weights, and the others get what it has; they call it together.

        Args:
            shape: of the file's images.
            static: for XLA, see build_segmenter.
            ranks: of the job.

        Raises:
            ConfigError: the images do not fit the architecture.
            CheckpointError: the weights do not fit it, or are others by now.
        """
        bare = self.bare_segmenter(shape, static, ranks)
        return CalibratedSegmenter(bare, self.calibration, self.point, self.network.event_joins_pixels)

    def bare_segmenter(self, shape: ImageShape, static: bool = False, ranks: Ranks | None = None) -> Segmenter:
        """The segmenter without calibration or working point: raw logits, pixels as if the readout had a neutrino."""
        from cosmictagger_tf.networks.build import build_segmenter

        check_image_shape(shape, self.data.downsample, self.network.network_depth)
        network = replace(self.network, event_joins_pixels=False)
        segmenter = build_segmenter(network, shape.downsampled(self.data.downsample), static)
        if ranks is None or ranks.rank == 0:
            with misfits_explained(self.weights, self.network, shape):
                self.load(segmenter.network)
        if ranks is not None and ranks.size > 1:
            segmenter.network.set_weights(ranks.decided(segmenter.network.get_weights))
        return segmenter

    def load(self, network: keras.Model):
        """Loads the weights into a network; raises CheckpointError where they do not fit, or are others by now."""
        try:
            load_weights(self.weights, network)
        except CheckpointError:
            if self.step is not None and not self.weights.exists():
                raise CheckpointError(
                    f"checkpoint {self.weights.parent}: was removed while this command began, by a training that "
                    "still runs and keeps its newest: give the command again"
                ) from None
            raise
        if self.checksum and sha256(self.weights) != self.checksum:
            raise CheckpointError(
                f"weights {self.weights}: were replaced while this command began: give the command again"
            )


def agreed_model(ranks: Ranks, config: InferenceConfig, calibrated: bool = True) -> TrainedModel:
    """The trained model that rank 0 finds (see find_model), on all ranks; each has its own names of the data's files.

    A training that saves meanwhile would give ranks that look for themselves different networks.
    """
    trained = ranks.decided(lambda: find_model(config, calibrated))
    return replace(trained, data=replace(trained.data, file=config.data.file, reader=config.data.reader))


def find_model(config: InferenceConfig, calibrated: bool = True) -> TrainedModel:
    """The trained model that the options mean.

    Architecture and resolution are the trained one's; explicit options that contradict the architecture are refused.
    With --weights_location they are what the options give, or, where none of the network is explicit, those of the run
    that --run_id names. How the same network computes (--data_format, --remat) follows the options alone. A sparse
    network may be computed as the dense one that it equals (--conv_mode=3D --submanifold), and the reverse.

    Args:
        config: has the options.
        calibrated: with the record that lies beside the weights, if there is one.

    Raises:
        UserError: there is no such run or checkpoint, its architecture is another, the record is not of the weights, or
            there is no such working point.
    """
    weights, explicit = config.weights, config.explicit
    location = Path(weights.weights_location)
    if weights.weights_location and ("run_id" not in explicit or set(config.network_options) - set(HOW_IT_COMPUTES)):
        scheme = OptimizerConfig().loss_balance_scheme
        model = TrainedModel(config.network, config.data, scheme, location, None, truth=config.truth)
        return _at_working_point(model, config, calibrated)
    folder = RunFolder(config.output)
    shipped = ShippedModel(weights.weights) if weights.weights != "run" else None
    source = shipped or folder
    trained = source.config(NetworkConfig)
    network = as_it_computes(trained, config.network)
    check_architecture(config.network_options, network, trained, source.path)
    run_data, run_truth = source.config(DataConfig), source.config(TruthConfig)
    data = replace(config.data, **{n: getattr(run_data, n) for n in INHERITED_DATA if n not in explicit})
    truth = replace(config.truth, **{n: value for n, value in run_truth.to_dict().items() if n not in explicit})
    scheme = source.config(OptimizerConfig).loss_balance_scheme
    if shipped:
        checksum, calibration = shipped.record["sha256"], shipped.calibration
        model = TrainedModel(network, data, scheme, shipped.path, shipped.step, checksum, calibration)
    elif weights.weights_location:
        model = TrainedModel(network, data, scheme, location, None)
    else:
        store = CheckpointStore(folder.checkpoints, architecture=architecture(trained))
        manifest = find_checkpoint(store, weights.checkpoint_step)
        path, checksum = store.path(manifest["step"]) / WEIGHTS_FILE, manifest["sha256"][WEIGHTS_FILE]
        model = TrainedModel(network, data, scheme, path, manifest["step"], checksum)
    return _at_working_point(replace(model, truth=truth), config, calibrated)


def _at_working_point(model: TrainedModel, config: InferenceConfig, calibrated: bool) -> TrainedModel:
    # As the options ask for it; `calibrated`: see find_model.
    record = read_calibration(model.weights) if calibrated else None
    calibration, point = record or model.calibration, config.weights.working_point
    # A record's two points may be the same by their choice.
    if calibrated and record is None and point == "selection" and calibration.selection == calibration.pixels:
        raise ConfigError(
            f"--working_point={point}: {model.weights} has no such working point: leave it out, or calibrate the "
            "weights first"
        )
    if "background_shift" in config.explicit:
        shift = config.weights.background_shift
        points = {name: replace(getattr(calibration, name), background_shift=shift) for name in WORKING_POINTS}
        calibration = replace(calibration, **points)
    return replace(model, calibration=calibration, working_point=point)


def check_architecture(options: dict, network: NetworkConfig, trained: NetworkConfig, path: Path):
    """Raises ConfigError where explicit options contradict the architecture that was trained.

    Args:
        options: of the network, by name.
        network: the architecture, computed as they ask, as far as it can be.
        trained: the architecture as it was trained.
        path: of its run.
    """
    wrong = {name: value for name, value in options.items() if value != getattr(network, name)}
    if wrong:
        shown = "; ".join(f"--{name}={value}, but {getattr(network, name)} there" for name, value in wrong.items())
        hint = " (it can be computed as --conv_mode=sparse or as --conv_mode=3D --submanifold)"
        wrong_form = trained.is_sparse_3d and set(wrong) <= {"conv_mode", "submanifold"}
        raise ConfigError(f"{path} was trained with another architecture: {shown}{hint if wrong_form else ''}")


def check_vertex_producers(network: NetworkConfig, truth: TruthConfig):
    """Raises ConfigError where true vertices are named for a network that predicts none."""
    for name in ("producer_vertex", "producer_vertex_cluster"):
        # A run's flagfile has them too, as they are by default.
        if not network.vertex_head and getattr(truth, name) != getattr(TruthConfig(), name):
            raise ConfigError(f"--{name}: this network has no --vertex_head, whose vertices it could be compared with")


def as_it_computes(trained: NetworkConfig, options: NetworkConfig) -> NetworkConfig:
    """A trained architecture, computed as the options ask, as far as it stays the same function of the same weights."""
    network = replace(trained, **{name: getattr(options, name) for name in HOW_IT_COMPUTES})
    if trained.is_sparse_3d and options.is_sparse_3d:
        network = replace(network, conv_mode=options.conv_mode, submanifold=options.submanifold)
    return network


def find_checkpoint(store: CheckpointStore, wanted: int) -> dict:
    """The manifest of the checkpoint to use: the wanted one, verified; NEWEST: the newest intact one; BEST: the best.

    Raises:
        CheckpointError: there is none; the message names those that there are.
    """
    if wanted >= 0:
        if wanted not in store.steps():
            steps = ", ".join(map(str, store.steps())) or "none"
            raise CheckpointError(f"--checkpoint_step={wanted}: {store.folder} has the steps {steps}")
        return store.verify(wanted)
    if wanted == BEST:
        best = store.best()
        if best is None:
            raise CheckpointError(f"--checkpoint_step={BEST}: {store.folder} has no best checkpoint (see --aux_epochs)")
        return store.verify(best["step"])
    manifest = store.newest_valid()
    if manifest is None:
        raise CheckpointError(f"{store.folder}: holds no intact checkpoint (train first, or see --run_id)")
    return manifest
