"""Options of the data: which events are read, how, what is simulated, and what is measured of reading."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.errors import ConfigError


@dataclass(frozen=True)
class DataConfig(Config):
    """Data: which events are read, and how"""

    file: tuple[str, ...] = option(
        (), "larcv3 HDF5 files, comma-separated; patterns such as 'set_*.h5' are expanded", path=True
    )
    synthetic: bool = option(False, "read no file: random pixel lists of the size of an SBND event, to measure compute")
    reader: str = option(
        "h5py", "library that reads the files (identical arrays; larcv must be compiled)", choices=("h5py", "larcv")
    )
    producer_image: str = option("sbndwire", "producer of the sparse2d product that is the image")
    producer_label: str = option("sbnd_cosmicseg", "producer of the sparse2d product that is the label")
    first_entry: int = option(0, "skip the entries before this one (counted over all files)", minimum=0)
    max_entries: int = option(0, "use at most this many entries; 0 = all", minimum=0)
    downsample: int = option(1, "divide both axes by 2^downsample; 0 = full resolution", minimum=0, maximum=8)
    minibatch_size: int = option(2, "events a step, over all ranks together", minimum=1)

    def check(self):
        if self.synthetic and self.file:
            raise ConfigError("--synthetic reads no file: leave out --file, or --synthetic")


@dataclass(frozen=True)
class TruthConfig(Config):
    """Truth of whole readouts: which products have it"""

    producer_particle: str = option("sbndneutrino", "producer of the particle product that has the true neutrino")
    producer_vertex: str = option(
        "bbox_neutrino", "producer of the bbox2d product of the true vertices, a box a plane and interaction"
    )
    producer_vertex_cluster: str = option(
        "sbndneutrino",
        "producer of the cluster2d product that has them where there is no such bbox2d product; without either, the "
        "particle's vertex is projected, in images of SBND's shape",
    )


@dataclass(frozen=True)
class SkipConfig(Config):
    """Bad events: how many a command skips"""

    skip_bad_events: int = option(
        0,
        "skip so many different events that cannot be read, and name each; the next one stops the command, as the "
        "first does with 0",
        minimum=0,
    )


@dataclass(frozen=True)
class SimulateConfig(Config):
    """Simulation"""

    output: str = option("simulated.h5", "the larcv3 file to write", path=True)
    overwrite: bool = option(False, "replace the file if it exists")
    events: int = option(100, "how many events", minimum=1)
    simulation_seed: int = option(1, "names the set: the same seed gives the same events", minimum=0, maximum=2**63 - 1)
    neutrinos: int = option(
        1,
        "neutrino interactions in each event: 0 = cosmic rays alone; several = more to learn from in an image",
        minimum=0,
    )
    neutral_currents: float = option(
        0.25,
        "share of the neutrino interactions that are by neutral current: often small and hard to find, so that a "
        "training set may have more",
        minimum=0.0,
        maximum=1.0,
    )
    cosmic_only: float = option(
        0.0,
        "share of the events that are without a neutrino, to learn to reject them; the others do not depend on it",
        minimum=0.0,
        maximum=1.0,
    )
    stray_protons: float = option(
        0.5,
        "mean number of protons from cosmic neutrons in an event, which look most like a neutrino; 0.5 is tuned on the "
        "SBND sample, and another tells how much a result depends on it",
        minimum=0.0,
        maximum=100.0,
    )
    workers: int = option(1, "processes that simulate at once; the file does not depend on it", minimum=1)
    compare: str = option(
        "",
        "a larcv3 file with labels: write no file, but print and draw how --events simulated events compare with it",
        path=True,
    )
    comparison_picture: str = option("comparison.png", "the picture that --compare draws", path=True)

    def check(self):
        if not self.comparison_picture.endswith(".png"):
            raise ConfigError(f"--comparison_picture={self.comparison_picture}: must end in .png")


@dataclass(frozen=True)
class IoTestConfig(Config):
    """Reading test"""

    read_iterations: int = option(50, "how many batches are read", minimum=1)
    truth: bool = option(False, "read the truth of whole readouts too, and count how many there are of each class")
    compare_readers: bool = option(
        False, "compare this reader with the larcv library's queue, at --downsample 0 and 2 and batches of 1, 4 and 16"
    )
