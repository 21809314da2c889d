"""Simulated events, each from its own seed, into a larcv3 file."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.config import SimulateConfig
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.larcv_format import PARTICLE_DTYPE
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.detector import COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.files import check_output
from cosmictagger_tf.simulation import cosmics, neutrinos, readout, response
from cosmictagger_tf.simulation.deposits import Deposits, Quanta
from cosmictagger_tf.simulation.showers import shower
from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)

PRODUCER_IMAGE, PRODUCER_LABEL, PRODUCER_NEUTRINO = "sbndwire", "sbnd_cosmicseg", "sbndneutrino"
AHEAD = 4


def simulate_event(
    seed: int,
    number: int,
    interactions: int = SimulateConfig.neutrinos,
    neutral_currents: float = SimulateConfig.neutral_currents,
) -> tuple[Event, np.ndarray]:
    """Event `number` of the set that `seed` names, and its neutrinos' particles (rows of PARTICLE_DTYPE).

    Args:
        seed: of the set.
        number: of the event.
        interactions: how many neutrino interactions lie in the image; 0 = cosmic rays alone.
        neutral_currents: the share of them that are by neutral current.
    """
    rng = np.random.default_rng([seed, number])
    shape = ImageShape()
    neutrino = [neutrinos.interact(rng, neutral_currents) for _ in range(interactions)]
    # A group is a primary and all that comes of it: the neutrinos' are the first.
    followed = [neutrinos.follow(rng, one, group) for group, one in enumerate(neutrino)]
    others, times = cosmics.cosmics(rng, interactions)
    late = [one.time * geometry.DRIFT_VELOCITY / geometry.CM_PER_ROW for one in neutrino]
    times = np.concatenate([late, times])
    owners = np.array([NEUTRINO] * interactions + [COSMIC] * len(others), np.int64)
    everything = [*followed, *others]
    deposits = [d for one in everything for d in one.deposits]
    deposits.append(shower(rng, Quanta.join([Quanta.none(), *(q for one in everything for q in one.quanta)])))
    clouds = response.drift(rng, Deposits.join(deposits), times, owners)
    planes = [
        readout.read_out(rng, response.signal(clouds, plane, shape), plane, shape) for plane in range(shape.planes)
    ]
    images, labels = zip(*planes, strict=True)
    rows = [neutrinos.particles(one) for one in neutrino]
    return Event(number, (1, seed, number), images, labels, shape), np.concatenate([np.zeros(0, PARTICLE_DTYPE), *rows])


def simulate_file(config: SimulateConfig):
    """Writes a file of simulated events; it is the same whatever the number of workers.

    Raises:
        ConfigError: the file exists and --overwrite is not set, or nothing can be written there.
        WriteError: the disk is full.
    """
    path = Path(config.output)
    check_output(path, "output", config.overwrite)
    began = time.perf_counter()
    with LarcvWriter(path, ImageShape()) as writer:
        for event, particle in events(config):
            assert event.label is not None
            products = {PRODUCER_IMAGE: event.image, PRODUCER_LABEL: event.label}
            writer.write(event.event_id, products, particles={PRODUCER_NEUTRINO: particle})
            report(writer.entries, config.events, time.perf_counter() - began)


def events(config: SimulateConfig) -> Iterator[tuple[Event, np.ndarray]]:
    """The events in order, made by `workers` processes."""
    neutrinos = config.neutrinos, config.neutral_currents
    if config.workers == 1:
        for number in range(config.events):
            yield simulate_event(config.simulation_seed, number, *neutrinos)
        return
    with ProcessPoolExecutor(config.workers, initializer=_end_with_parent) as pool:
        ahead: deque[Future] = deque()
        try:
            for number in range(config.events):
                # Not more at once than keeps the workers busy: the events wait here until they are written.
                if len(ahead) >= AHEAD * config.workers:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(simulate_event, config.simulation_seed, number, *neutrinos))
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent():
    # In a worker: where the process that began it is killed, it would wait for the next event for ever. That process
    # also decides what a signal to both means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def report(done: int, total: int, seconds: float):
    """Reports how far the simulation is, every 50 events and at the end."""
    if done % 50 == 0 or done == total:
        rate = done / seconds
        log.info(f"simulated {done}/{counted(total, 'event')}  {rate:.1f} events/s  {(total - done) / rate:.0f} s left")
        sys.stdout.flush()
