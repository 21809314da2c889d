"""The larcv library's own queue, set up as the reference CosmicTagger sets it up: what reading speed is compared with.

Its configuration (src/io/data.py of the reference): a BatchFillerSparseTensor2D for image and label each, padded to
50,000 voxels a plane, and before them, in place, larcv3's Downsample with average and maximum pooling. The library
reads the next batch in a thread of its own. The dense conversion that the reference then does in NumPy is left out.
"""

import itertools
import time
from collections.abc import Iterator

import numpy as np

from cosmictagger_tf.data.larcv_lib import LarcvLibraryFile, import_larcv

MOST_VOXELS = 50_000
_POLL_SECONDS = 0.001
# larcv3::PoolType_t
_AVERAGE, _MAXIMUM = 1, 2
_numbers = itertools.count()


class LarcvQueue:
    """Batches of a file through larcv's queue.

    Args:
        path: the file.
        producers: of the image and of the label.
        planes: of an image.
        downsample: both axes are divided by 2**downsample.

    Attributes:
        waited: seconds in which the next batch was not ready.

    Raises:
        DataError, MissingPackageError, ConfigError: see larcv_lib.
    """

    def __init__(self, path: str, producers: tuple[str, str], planes: int, downsample: int):
        larcv = import_larcv()
        # What the library cannot read is said: it would wait for ever.
        LarcvLibraryFile(path, *producers).close()
        from larcv.config_builder import ConfigBuilder

        # The library keeps its queues by name for as long as the process lives.
        name = f"cosmictagger_tf_{next(_numbers)}_"
        self.keys = [name + which for which in ("image", "label")]
        builder = ConfigBuilder()
        builder.set_parameter([path], "InputFiles")
        for place in (("ProcessDriver", "IOManager"), ("ProcessDriver",), ()):
            builder.set_parameter(5, *place, "Verbosity")
        if downsample:
            for producer, pool in zip(producers, (_AVERAGE, _MAXIMUM), strict=True):
                options = {"OutputProducer": producer, "Downsample": 2**downsample, "PoolType": pool}
                builder.add_preprocess("sparse2d", producer, "Downsample", **options)
        for producer, key in zip(producers, self.keys, strict=True):
            options = {"MaxVoxels": MOST_VOXELS, "Augment": False, "Channels": list(range(planes))}
            builder.add_batch_filler("sparse2d", producer, key, **options)
        # Not larcv's own wrapper of it, whose destructor waits for ever unless a batch is left unread.
        self.processor = larcv.QueueProcessor(name)
        self.processor.configure(builder.get_config(), 0)
        self.waited = 0.0

    def read(self, batches: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of these entries, the next one being read meanwhile.

        Returns:
            Image and label, float32 [batch, planes, MOST_VOXELS, 3] each: wire, tick, value; -999 where padded.
        """
        self._queue(next(batches))
        for entries in itertools.chain(batches, [None]):
            began = time.perf_counter()
            while self.processor.is_reading() or not self.processor.is_next_ready():
                time.sleep(_POLL_SECONDS)
            self.waited += time.perf_counter() - began
            self.processor.pop_current_data()
            image, label = (self._fetch(key) for key in self.keys)
            if entries is not None:
                self._queue(entries)
            yield image, label
        self.processor.reset()

    def _fetch(self, key) -> np.ndarray:
        batch = self.processor.get_batch_float32(key)
        return batch.pydata().reshape(batch.dim())

    def _queue(self, entries):
        self.processor.set_next_batch([int(entry) for entry in entries])
        self.processor.prepare_next()
