"""What a network costs in time and memory: alone, with reading, against the machine's limits and other networks."""

import logging
from dataclasses import replace
from functools import partial

import keras

from cosmictagger_tf.benchmarking.bench import Bench
from cosmictagger_tf.benchmarking.clock import Timing, peak_memory
from cosmictagger_tf.benchmarking.compiled import peak_device_memory
from cosmictagger_tf.benchmarking.machine import describe, measure_limits
from cosmictagger_tf.benchmarking.products import products_of, time_products
from cosmictagger_tf.benchmarking.reference_network import ReferenceBench, check_reference
from cosmictagger_tf.benchmarking.throughput import read_through
from cosmictagger_tf.config import (
    BenchmarkConfig,
    DataConfig,
    DistributedConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    TrainConfig,
    TruthConfig,
    check_image_shape,
)
from cosmictagger_tf.config.backend_limits import refuse_limits
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import Reader, open_reader
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.execution import accelerators, prepare
from cosmictagger_tf.launch import launched
from cosmictagger_tf.networks.scatter import ScatterPixels
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.model import batches_for_fit

log = logging.getLogger(__name__)

# Steps of training with reading that do not count: other lengths of the lists than before are compiled in them.
WARM = 4


class Records:
    """Prints each result as a line of a table, and keeps it for the file.

    Attributes:
        rows: dicts that json can write: what, batch, what was measured and in which unit.
    """

    def __init__(self):
        self.rows: list[dict] = []

    def add(self, what: str, batch: int, timing: Timing | None = None, **more):
        """Adds a result: its timing, where it is one, and other figures by name."""
        self.rows.append({"what": what, "batch": batch, **(timing.rounded() if timing else {}), **more})
        figures = {name.replace("_", " "): value for name, value in more.items()}
        shown = [str(timing)] if timing else []
        shown += [f"{name} {v:.3g}" if isinstance(v, float) else f"{name} {v}" for name, v in figures.items()]
        log.info(f"batch {batch:<4} {what:32} {', '.join(shown)}")


def with_sites(event: Event, sites: int) -> list[Event]:
    """Copies of an event, the pixels of each cut off evenly, with so many pixels in all."""
    pixels = sum(len(plane) for plane in event.image)
    copies = -(-sites // pixels)
    share = sites / copies / pixels

    def cut(plane: PlanePixels) -> PlanePixels:
        n = round(len(plane) * share)
        return PlanePixels(plane.rows[:n], plane.columns[:n], plane.values[:n])

    image, label = (tuple(cut(plane) for plane in planes) for planes in (event.image, event.label or ()))
    return [replace(event, image=image, label=label)] * copies


def measure(
    benchmark: BenchmarkConfig,
    data: DataConfig,
    network: NetworkConfig,
    optimizer: OptimizerConfig,
    execution: ExecutionConfig,
) -> dict:
    """Measures the network on the first event of the data; prints each line.

    Returns:
        What json can write: machine, limits, configuration, and the rows.

    Raises:
        UserError: the data cannot be read, an architecture does not fit, or the backend has not an option.
    """
    training = (network, execution, TrainConfig(iterations=1), DistributedConfig())
    refuse_limits(keras.backend.backend(), training, launched())
    if benchmark.reference:
        check_reference(network)
    prepare(execution)
    reader, records = open_reader(data, TruthConfig() if network.has_heads else None), Records()
    check_image_shape(reader.shape, data.downsample, network.network_depth)
    if benchmark.dense_modes:
        check_image_shape(reader.shape, benchmark.dense_downsample, network.network_depth, "dense_downsample")
    event = downsample_event(reader.read(0), data.downsample)
    machine = describe()
    log.info(", ".join(f"{name} {value}" for name, value in machine.items() if value))
    bench = Bench(network, optimizer, execution, event.shape)
    ones = {}
    for size in map(int, benchmark.batch_sizes):
        ones[size] = _network_rows(bench, event, size, network, benchmark.repeats, records)
        if benchmark.reading_steps:
            _reading_rows(bench, reader, replace(data, minibatch_size=size), benchmark.reading_steps, records)
    if benchmark.reference:
        _reference_rows(bench, event, network, benchmark.repeats, records)
    for sites in map(int, benchmark.sites):
        _sites_row(bench, with_sites(event, sites), benchmark, records)
    one = min(ones)
    small = downsample_event(reader.read(0), benchmark.dense_downsample)
    for mode in benchmark.dense_modes:
        # What is for sparse networks alone is left out.
        alike = replace(network, conv_mode=mode, descend_charge=0.0, head_design="reference")
        dense = Bench(alike, optimizer, execution, small.shape)
        batch = dense.prepared(dense.batch([small]))
        scale = event.shape.pixels / small.shape.pixels
        for name, timed, own in zip(("forward", "training step"), (dense.forward, dense.step), ones[one], strict=True):
            timing = timed(batch, 1)
            times = scale * timing.fastest / (own.fastest / one)
            what = f"{name} of {mode} at downsample {benchmark.dense_downsample}"
            records.add(what, 1, timing, scaled_by_pixels=scale, times_as_long=times)
    limits = measure_limits()
    log.info(f"limits: {limits}")
    configs = {"data": data, "network": network, "optimizer": optimizer, "execution": execution}
    configuration = {name: config.to_dict() for name, config in configs.items()}
    return {"machine": machine, "limits": limits._asdict(), "configuration": configuration, "rows": records.rows}


def _network_rows(
    bench: Bench, event: Event, size: int, network: NetworkConfig, repeats: int, records: Records
) -> tuple[Timing, Timing]:
    batch = bench.batch([event] * size)
    if bench.segmenter.prepare:
        records.add("rulebook", size, bench.preparing(batch, repeats))
    prepared = bench.prepared(batch)
    # The step first: its peak memory is asked for before the graph of the forward pass is there as well.
    step, memory = bench.step(prepared, repeats), peak_memory()
    forward = bench.forward(prepared, repeats)
    records.add("forward", size, forward, images_per_second=size / forward.median)
    records.add("training step", size, step, images_per_second=size / step.median)
    records.add("peak memory", size, gigabytes=round(memory, 2))
    if accelerators():
        records.add("peak memory of the GPU", size, gigabytes=round(peak_device_memory(), 2))
    if network.conv_mode == "sparse":
        sites = [len(prepared[f"images_{level}"]) for level in range(network.network_depth)]
        sites.append(len(prepared[f"children_{network.network_depth - 1}"]))
        records.add("sites of each level", size, sites=sites)
    if network.conv_mode == "sparse" and not accelerators():
        # On a GPU, timed one by one, they would tell how long it takes to start them.
        products = products_of(bench.segmenter.network, sites, size, network.network_depth - network.vertex_depth)
        bare = time_products(products, repeats)
        for name, whole, timing in zip(("forward", "training step"), (forward, step), bare, strict=True):
            ratio = whole.fastest / timing.fastest
            records.add(f"{name}: its matrix products", size, timing, ratio=ratio)
    else:
        operations = bench.operations(prepared) / 1e9
        share = operations / step.fastest / measure_limits().gflops
        records.add("training step: operations", size, gflop=operations, share_of_limit=share)
    return forward, step


def _reference_rows(bench: Bench, event: Event, network: NetworkConfig, repeats: int, records: Records):
    """Ours and the reference's in turns, so that both meet the same machine."""
    reference, batch = ReferenceBench(network, event.shape), make_batch([event], 1, event.shape)
    scatter = ScatterPixels(event.shape.height, event.shape.width)
    images, labels = (
        keras.ops.convert_to_numpy(scatter(batch[f"{name}_coordinates"], batch[f"{name}_values"]))
        for name in ("image", "label")
    )
    prepared = bench.prepared(batch)
    for what, ours, theirs in (
        ("forward", partial(bench.forward, prepared), partial(reference.forward, images)),
        ("training step", partial(bench.step, prepared), partial(reference.step, images, labels)),
    ):
        pairs = [(ours(repeats), theirs(repeats)) for _ in range(3)]
        fastest = [min(timing.fastest for timing in timings) for timings in zip(*pairs, strict=True)]
        timing = min((pair[1] for pair in pairs), key=lambda timing: timing.fastest)
        records.add(f"{what} of the reference's", 1, timing, times_as_long=fastest[1] / fastest[0])


def _reading_rows(bench: Bench, reader: Reader, data: DataConfig, steps: int, records: Records):
    size = data.minibatch_size
    if size > len(reader):
        log.info(f"batch {size:<4} reading: left out, the data have {counted(len(reader), 'entry')} only")
        return
    # Reading is quick: more of it, and first some that does not count.
    read_through(reader, data, steps, 0)
    reading, _ = read_through(reader, data, 10 * steps, 0)
    milliseconds = 1e3 * reading.cpu_seconds / reading.events
    records.add("reading alone", size, images_per_second=reading.events / reading.seconds, cpu_ms_an_image=milliseconds)
    stream = training_dataset(reader, data, 0, steps=steps + WARM, prepare=bench.segmenter.prepare)
    waits: list[float] = []
    waiting = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: waits.append(stream.waited()))
    with stream.errors_reraised():
        clock = bench.train(batches_for_fit(stream), steps + WARM, waiting)
    timing = clock.timing(WARM)
    share = (waits[-1] - waits[WARM - 1]) / (clock.ends[-1] - clock.ends[WARM - 1])
    records.add("training with reading", size, timing, images_per_second=size / timing.median, waiting=share)


def _sites_row(bench: Bench, events: list[Event], benchmark: BenchmarkConfig, records: Records):
    size = len(events)
    batch = bench.prepared(bench.batch(events))
    sites = sum(len(plane) for event in events for plane in event.image)
    records.add(f"forward of {sites} sites", size, bench.forward(batch, benchmark.repeats))
    if sites <= benchmark.most_trained_sites:
        records.add(f"training step of {sites} sites", size, bench.step(batch, benchmark.repeats))
