"""Simulated events, each from its own seed, into a larcv3 file."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from cosmictagger_tf.config import SimulateConfig
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.larcv_format import PARTICLE_DTYPE
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.simulation import response, tracks
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError

PRODUCER_IMAGE, PRODUCER_LABEL, PRODUCER_NEUTRINO = "sbndwire", "sbnd_cosmicseg", "sbndneutrino"
MUON_NEUTRINO = 14


def simulate_event(seed: int, number: int) -> tuple[Event, np.ndarray]:
    """Event `number` of the set that `seed` names, and its neutrino (one row of PARTICLE_DTYPE)."""
    rng = np.random.default_rng([seed, number])
    shape = ImageShape()
    cosmic = tracks.join([tracks.cosmic_muon(rng) for _ in range(rng.poisson(tracks.COSMICS_PER_EVENT))])
    signal, vertex = tracks.neutrino(rng)
    images, labels = [], []
    for plane in range(shape.planes):
        noise = response.noise(rng, plane, shape)
        seen = response.read_out(
            response.image(cosmic, plane, shape), response.image(signal, plane, shape), noise, shape
        )
        images.append(seen[0])
        labels.append(seen[1])
    particle = np.zeros(1, PARTICLE_DTYPE)
    particle["pdg"], particle["energy_init"] = MUON_NEUTRINO, signal.energy.sum() / 1000.0
    for axis, value in zip("xyz", vertex, strict=True):
        particle["vtx"][axis] = value
    return Event(number, (1, seed, number), tuple(images), tuple(labels), shape), particle


def simulate_file(config: SimulateConfig, say=print):
    """Writes a file of simulated events; it is the same whatever the number of workers.

    Raises:
        ConfigError: the file exists and --overwrite is not set.
    """
    path = Path(config.output)
    if path.exists() and not config.overwrite:
        raise ConfigError(f"--output={path}: exists already; remove it, or give --overwrite")
    began = time.perf_counter()
    with LarcvWriter(path, ImageShape()) as writer:
        for event, particle in events(config):
            assert event.label is not None
            products = {PRODUCER_IMAGE: event.image, PRODUCER_LABEL: event.label}
            writer.write(event.event_id, products, particles={PRODUCER_NEUTRINO: particle})
            report(writer.entries, config.events, time.perf_counter() - began, say)


def events(config: SimulateConfig) -> Iterator[tuple[Event, np.ndarray]]:
    """The events in order, made by `workers` processes."""
    numbers = range(config.events)
    seeds = [config.simulation_seed] * config.events
    if config.workers == 1:
        yield from map(simulate_event, seeds, numbers)
        return
    with ProcessPoolExecutor(config.workers) as pool:
        yield from pool.map(simulate_event, seeds, numbers, chunksize=4)


def report(done: int, total: int, seconds: float, say):
    """Says how far the simulation is, every 50 events and at the end."""
    if done % 50 == 0 or done == total:
        rate = done / seconds
        say(f"simulated {done}/{total} events  {rate:.1f} events/s  {(total - done) / rate:.0f} s left")
        sys.stdout.flush()
