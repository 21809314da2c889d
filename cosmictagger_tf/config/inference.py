"""Options of what trained weights are used for: scores, tables, pictures, export."""

from dataclasses import dataclass
from itertools import combinations

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.config.cuts import QUANTITIES, Cut, parse_cuts
from cosmictagger_tf.errors import ConfigError

# Trained networks that come with the package (training/checkpoints/shipped.py).
SHIPPED_WEIGHTS = ("sparse_small", "sparse_events")
# Those that a calibration has (calibration/working_points.py).
WORKING_POINTS = ("pixels", "selection")


@dataclass(frozen=True)
class WeightsConfig(Config):
    """Weights: which trained weights are used"""

    weights: str = option(
        "run",
        "run = those of the run that --run_id names; else a network that comes with the package, for SBND's images at "
        "full resolution (docs/model_card.md)",
        choices=("run", *SHIPPED_WEIGHTS),
    )
    checkpoint_step: int = option(
        -1, "step of the run's checkpoint; -1 = the newest, -2 = the best by validation", minimum=-2
    )
    weights_location: str = option(
        "",
        "a Keras .weights.h5 file to use instead of a run's checkpoint; of the architecture that the network flags and "
        "--downsample give, or, without a network flag, of the run that --run_id names",
        path=True,
    )
    working_point: str = option(
        "pixels",
        "at which of the calibration's working points pixels are called: pixels = what each pixel is; selection = few "
        "neutrino pixels where there are cosmic rays only",
        choices=WORKING_POINTS,
    )
    background_shift: float = option(
        0.0,
        "added to the logarithm of the background's probability (to its logit, for weights without a calibration). "
        "Below 0 more pixels are called cosmic or neutrino, and fewer of the true ones are missed. Calibrated weights "
        "and those that come with the package have their own, unless this is given",
        minimum=-100.0,
        maximum=100.0,
    )

    def check(self):
        if self.weights != "run" and (self.weights_location or self.checkpoint_step != -1):
            raise ConfigError(
                f"--weights={self.weights}: comes with the package: leave out --weights_location and --checkpoint_step"
            )

    @property
    def of_run(self) -> bool:
        """Whether they are those of the run that --run_id names, so that what is made of them belongs in its folder."""
        return self.weights == "run" and not self.weights_location


@dataclass(frozen=True)
class ReadoutsConfig(Config):
    """Readouts: predictions for each readout as a whole"""

    prior: float = option(
        0.0,
        "share of readouts with a neutrino in the experiment: predict gives probabilities at it (with --event_head), "
        "evaluate the purity of selections; 0 = the probabilities are at the training's, and there is no purity",
        minimum=0.0,
        maximum=1.0,
    )
    table: str = option(
        "",
        "a table with a line a readout: of predict its predictions, of evaluate what cuts look at; ends in .csv, or in "
        ".parquet with pyarrow",
        path=True,
    )

    def check(self):
        if self.table and not self.table.endswith((".csv", ".parquet")):
            raise ConfigError(f"--table={self.table}: must end in .csv or .parquet")


@dataclass(frozen=True)
class PredictConfig(Config):
    """Prediction: the output file and its products"""

    output: str = option("predicted.h5", "the larcv3 file to write", path=True)
    overwrite: bool = option(False, "replace the file if it exists")
    producer_neutrino_score: str = option("neutrino_prediction", "producer of the sparse2d product of neutrino scores")
    producer_cosmic_score: str = option("cosmic_prediction", "producer of the sparse2d product of cosmic scores")
    producer_event_prediction: str = option(
        "event_prediction", "producer of the tensor1d product of each readout's class; with --event_head"
    )
    producer_vertex_prediction: str = option(
        "vertex_prediction",
        "producer of the bbox2d, particle and tensor1d products of each readout's vertex; with --vertex_head",
    )
    clean: bool = option(False, "write the image without the pixels that are called cosmic or background, too")
    clean_fringe: bool = option(
        False, "leave in it the neutrino's fringe: pixels called background that are near to a pixel called neutrino"
    )
    producer_cleaned_image: str = option("cleaned_image", "producer of the sparse2d product of --clean")

    def check(self):
        images = ["producer_neutrino_score", "producer_cosmic_score", "producer_cleaned_image"]
        for one, other in [*combinations(images, 2), ("producer_event_prediction", "producer_vertex_prediction")]:
            if getattr(self, one) == getattr(self, other):
                raise ConfigError(f"--{one} and --{other} must differ")


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Evaluation: what is worked out and written beside the table"""

    report: str = option(
        "",
        "the HTML report, .json and .csv beside it; default: evaluation.html in the folder of the weights' run",
        path=True,
    )
    html: bool = option(True, "draw the HTML report")
    bootstrap: int = option(1000, "resamplings of the events for the 95 % intervals; 0 = no intervals", minimum=0)
    bootstrap_seed: int = option(0, "seed of the resampling", minimum=0)
    event_cut_pixels: int = option(5, "event cut: more predicted neutrino pixels than this in every plane", minimum=0)
    event_cut_rows: float = option(
        50.0, "event cut: mean drift times of the planes agree within so many full-resolution rows", minimum=0.0
    )
    cut: str = option(
        "",
        "cuts whose selection is reported beside the event cut's: conditions joined by commas, cuts by semicolons, all "
        f"in quotes, such as 'pixels>10; pixels>10,rows<5'; of {', '.join(QUANTITIES)}",
    )
    producer_cosmic_primary: str = option(
        "sbnd_cosmic_primary",
        "producer of the sparse2d product that tells what made a cosmic pixel, as simulate writes it",
    )

    def check(self):
        if self.report and not self.report.endswith(".html"):
            raise ConfigError(f"--report={self.report}: must end in .html")
        parse_cuts(self.cut)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Those of --cut."""
        return parse_cuts(self.cut)


@dataclass(frozen=True)
class ExportConfig(Config):
    """Export"""

    export_dir: str = option(
        "",
        "where to; default: saved_model or model.keras in the folder of the run whose weights they are",
        path=True,
    )
    export_format: str = option(
        "saved_model",
        "saved_model = for LArSoft, C, C++, any Python; keras = the network alone, one .keras file",
        choices=("saved_model", "keras"),
    )
    export_default: str = option(
        "dense",
        "signature that serving_default is, which most programs call; LArSoft reads flat and per_view_flat; events is "
        "that of networks with heads",
        choices=("dense", "flat", "per_view", "per_view_flat", "pixels", "events"),
    )
    export_preprocessing: bool = option(
        False, "the exported model takes images at the file's resolution and downsamples them itself"
    )

    def check(self):
        if self.export_format == "keras" and self.export_preprocessing:
            raise ConfigError("--export_format=keras holds the network alone: leave out --export_preprocessing")
        if self.export_format == "keras" and self.export_default != "dense":
            raise ConfigError("--export_format=keras has no signatures: leave out --export_default")


@dataclass(frozen=True)
class DisplayConfig(Config):
    """Display: which events are drawn, and where to"""

    entries: tuple[str, ...] = option(("0",), "entries to draw, comma-separated")
    display_dir: str = option("displays", "folder of the pictures, one an event", path=True)
    display_format: str = option("png", "kind of picture; html = a page to zoom in", choices=("png", "pdf", "html"))
    predict: bool = option(True, "draw the run's prediction beside image and truth")

    def check(self):
        if not self.entries:
            raise ConfigError("--entries: names none; give some, such as --entries=0,1")
        wrong = [entry for entry in self.entries if not entry.isdecimal()]
        if wrong:
            raise ConfigError(f"--entries: '{wrong[0]}' is no entry number")
