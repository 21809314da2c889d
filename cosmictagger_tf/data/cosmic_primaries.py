"""What made the cosmic pixels of a data set, where its files tell: a product of the simulation."""

from cosmictagger_tf.config import DataConfig, with_changes
from cosmictagger_tf.data.dataset import FilesReader, Reader, open_reader
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.data.truth_tables import has_product


def open_primaries(reader: FilesReader, config: DataConfig, producer: str) -> Reader | None:
    """A reader of the same entries whose images have, as the value of a pixel, the number of what made it.

    Args:
        reader: of the data set, open.
        config: of the data set.
        producer: of the sparse2d product; values as in simulation/cosmics.py.

    Returns:
        None where one of the files has no such product.

    Raises:
        DataError: a file is another one by now, or its product is broken.
    """
    for part in reader.parts:
        file = Hdf5File(part.path, part.identity)
        try:
            if not has_product(file, "sparse2d", producer):
                return None
        finally:
            file.close()
    return open_reader(with_changes(config, reader="h5py", producer_image=producer, producer_label=""))
