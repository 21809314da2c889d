"""Which products of a data set have the truth of whole readouts."""

import contextlib
import logging
from collections import Counter
from collections.abc import Collection

from cosmictagger_tf import geometry
from cosmictagger_tf.config import TruthConfig
from cosmictagger_tf.data.dataset import FilesReader, Reader
from cosmictagger_tf.data.product_tables import products_with_tables
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted, listed

log = logging.getLogger(__name__)

# The kind of product that each option of TruthConfig names.
KINDS = {"producer_particle": "particle", "producer_vertex": "bbox2d", "producer_vertex_cluster": "cluster2d"}


def check_producers(reader: Reader, truth: TruthConfig, explicit: Collection[str] = tuple(KINDS)):
    """Refuses a producer that was asked for, and that no file has: truth would be read from elsewhere instead.

    Default values and empty names ask for nothing.

    Args:
        reader: of the files.
        truth: the options.
        explicit: names of those that were set.

    Raises:
        ConfigError: a product is missing; the message names those that there are.
        DataError, ReadError: a file cannot be read.
    """
    default = TruthConfig()
    wanted = {name: getattr(truth, name) for name in KINDS if name in explicit}
    wanted = {name: producer for name, producer in wanted.items() if producer not in ("", getattr(default, name))}
    if not wanted or not isinstance(reader, FilesReader):
        return
    products = [_products(part) for part in reader.parts]
    for name, producer in wanted.items():
        product = f"{KINDS[name]}_{producer}"
        if not any(product in present for present in products):
            raise ConfigError(
                f"--{name}={producer}: no file has {product} ({reader.files[0]} has: {listed(products[0])})"
            )


def _products(part) -> list[str]:
    with contextlib.closing(Hdf5File(part.path, part.identity)) as file:
        return products_with_tables(file)


def log_vertex_sources(reader: Reader):
    """Logs from which products the true vertices are read, and what a pixel is taken to measure where the detector's
    geometry is not known; nothing where no truth is read."""
    files = Counter(sources.vertices_from or "nothing" for sources in reader.truth_sources)
    several = len(files) > 1
    named = [f"{source} ({counted(number, 'file')})" if several else source for source, number in files.items()]
    if named:
        log.info(f"true vertices are read from: {', '.join(named)}")
    if named and geometry.unknown(reader.shape) and reader.pixel_size:
        height, width = reader.pixel_size
        log.info(f"by image_meta, whose unit is taken to be cm, a pixel is {height:.4g} x {width:.4g} cm (time x wire)")
