"""The larcv library as the tests use it: it reads what is compared with, by its own code."""

import numpy as np


def open_library(path):
    """An IOManager over one file, quiet."""
    import larcv

    manager = larcv.IOManager({"Name": "test", "Verbosity": 5, "Input": {"InputFiles": [str(path)]}})
    manager.initialize()
    return manager


def library_tensors(manager, entry, producer) -> list:
    """The SparseTensor2D of every plane."""
    manager.read_entry(entry)
    return list(manager.get_data("sparse2d", producer).as_vector())


def library_images(path, entry, producer) -> np.ndarray:
    """float32 [planes, ticks, wires]."""
    manager = open_library(path)
    images = [dense(tensor) for tensor in library_tensors(manager, entry, producer)]
    manager.finalize()
    return np.stack(images)


def library_numbers(path, entry, producer) -> list:
    """(number, float32 [n]) of every tensor of a tensor1d product."""
    manager = open_library(path)
    manager.read_entry(entry)
    tensors = manager.get_data("tensor1d", producer).as_vector()
    numbers = [(tensor.meta().projection_id(), tensor.as_array().copy()) for tensor in tensors]
    manager.finalize()
    return numbers


def dense(tensor) -> np.ndarray:
    """float32 [ticks, wires] of a SparseTensor2D."""
    wires, ticks = (tensor.meta().number_of_voxels(axis) for axis in (0, 1))
    flat = np.zeros(wires * ticks, np.float32)
    flat[tensor.indexes()] = tensor.values()
    return flat.reshape(wires, ticks).T


def library_content(path, entry) -> dict:
    """Everything that the library reads of an entry: (kind, producer) -> nested lists; and the event id."""
    manager = open_library(path)
    manager.read_entry(entry)
    event = manager.event_id()
    content: dict = {"event": (event.run(), event.subrun(), event.event())}
    for kind in ("sparse2d", "cluster2d", "bbox2d", "particle"):
        for producer in manager.producer_list(kind):
            product = manager.get_data(kind, producer).as_vector()
            content[kind, producer] = [_CONTENT[kind](item) for item in product]
    manager.finalize()
    return content


def _voxels(voxels) -> tuple:
    return voxels.indexes().tolist(), voxels.values().tolist()


def _meta(meta) -> tuple:
    return meta.id(), [(meta.number_of_voxels(i), meta.image_size(i), meta.origin(i)) for i in (0, 1)]


_CONTENT = {
    "sparse2d": lambda tensor: (_meta(tensor.meta()), _voxels(tensor)),
    "cluster2d": lambda cluster: (_meta(cluster.meta()), [_voxels(part) for part in cluster.as_vector()]),
    "bbox2d": lambda boxes: (_meta(boxes.meta()), [box.dump() for box in boxes.as_vector()]),
    "particle": lambda particle: particle.dump(),
}
