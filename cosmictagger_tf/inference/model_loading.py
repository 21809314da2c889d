"""Model loading: a trained network's architecture and weights, from its run's folder or where the options name them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import DataConfig, NetworkConfig, OptimizerConfig, check_image_shape
from cosmictagger_tf.detector import BACKGROUND, N_CLASSES, ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import sha256
from cosmictagger_tf.inference.inference_config import InferenceConfig
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
        background_shift: what is added to the background's logit.
        checksum: SHA-256 that the file has, where it is known.
        calibration: what turns its logits into probabilities; as they come where none is stored beside the weights.
    """

    network: NetworkConfig
    data: DataConfig
    scheme: str
    weights: Path
    step: int | None
    background_shift: float = 0.0
    checksum: str | None = None
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def image_shape(self) -> ImageShape | None:
        """The full-resolution shape of the images that it was trained on; None where no record has it."""
        origin = origin_of(self.weights)
        return origin.shape if origin else None

    def segmenter(self, shape: ImageShape, static: bool = False, ranks: Ranks | None = None):
        """The segmenter for full-resolution images of `shape`, weights loaded; `static` for XLA (see build_segmenter).

        With several ranks rank 0 loads the weights, and the others get what it has; they call it together.

        Raises:
            ConfigError: the images do not fit the architecture, or its logits have no bias to shift.
            CheckpointError: the weights do not fit it, or are others by now.
        """
        from cosmictagger_tf.networks.build import build_segmenter

        check_image_shape(shape, self.data.downsample, self.network.network_depth)
        segmenter = build_segmenter(self.network, shape.downsampled(self.data.downsample), static)
        if ranks is None or ranks.rank == 0:
            with misfits_explained(self.weights, self.network, shape):
                self.load(segmenter.network)
        if ranks is not None and ranks.size > 1:
            segmenter.network.set_weights(ranks.decided(segmenter.network.get_weights))
        shift_background(segmenter.network, self.background_shift)
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


def shift_background(network: keras.Model, shift: float):
    """Adds to the bias of the background's logit: a prior on the class, in log-odds (A. K. Menon et al.,
    arXiv:2007.07314, section 4.1).

    Raises:
        ConfigError: the network has no biases.
    """
    if not shift:
        return
    layer = network.get_layer("logits")
    if not layer.use_bias:
        raise ConfigError(f"--background_shift={shift:g}: is added to a bias, and this network has none (--nobias)")
    layer.bias.assign(ops.convert_to_numpy(layer.bias) + shift * np.eye(N_CLASSES, dtype="float32")[BACKGROUND])


def agreed_model(ranks: Ranks, config: InferenceConfig) -> TrainedModel:
    """The trained model that rank 0 finds (see find_model), on all ranks; each has its own names of the data's files.

    A training that saves meanwhile would give ranks that look for themselves different networks.
    """
    trained = ranks.decided(lambda: find_model(config))
    return replace(trained, data=replace(trained.data, file=config.data.file, reader=config.data.reader))


def find_model(config: InferenceConfig) -> TrainedModel:
    """The trained model that the options mean.

    Architecture and resolution are the trained one's; explicit options that contradict the architecture are refused.
    With --weights_location they are what the options give, or, where none of the network is explicit, those of the run
    that --run_id names. How the same network computes (--data_format, --remat) follows the options alone. A sparse
    network may be computed as the dense one that it equals (--conv_mode=3D --submanifold), and the reverse.

    Raises:
        UserError: there is no such run or checkpoint, or its architecture is another.
    """
    weights, explicit = config.weights, config.explicit
    location, shift = Path(weights.weights_location), weights.background_shift
    if weights.weights_location and ("run_id" not in explicit or set(config.network_options) - set(HOW_IT_COMPUTES)):
        return TrainedModel(config.network, config.data, OptimizerConfig().loss_balance_scheme, location, None, shift)
    folder = RunFolder(config.output)
    shipped = ShippedModel(weights.weights) if weights.weights != "run" else None
    source = shipped or folder
    trained = source.config(NetworkConfig)
    network = as_it_computes(trained, config.network)
    check_architecture(config.network_options, network, trained, source.path)
    run_data = source.config(DataConfig)
    data = replace(config.data, **{n: getattr(run_data, n) for n in INHERITED_DATA if n not in explicit})
    scheme = source.config(OptimizerConfig).loss_balance_scheme
    if shipped:
        shift = explicit.get("background_shift", shipped.calibration.pixels.background_shift)
        checksum, calibration = shipped.record["sha256"], shipped.calibration
        return TrainedModel(network, data, scheme, shipped.path, shipped.step, shift, checksum, calibration)
    if weights.weights_location:
        return TrainedModel(network, data, scheme, location, None, shift)
    store = CheckpointStore(folder.checkpoints, architecture=architecture(trained))
    manifest = find_checkpoint(store, weights.checkpoint_step)
    path, checksum = store.path(manifest["step"]) / WEIGHTS_FILE, manifest["sha256"][WEIGHTS_FILE]
    return TrainedModel(network, data, scheme, path, manifest["step"], shift, checksum)


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
