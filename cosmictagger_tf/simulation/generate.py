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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.config import SimulateConfig
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.larcv_format import PARTICLE_DTYPE
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.neutrino import neutrinos_of
from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.data.vertices import boxes_at, projected
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.files import check_output
from cosmictagger_tf.simulation import cosmics, neutrinos, readout, response
from cosmictagger_tf.simulation.deposits import Deposits, Quanta
from cosmictagger_tf.simulation.showers import shower
from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)

PRODUCER_IMAGE, PRODUCER_LABEL, PRODUCER_NEUTRINO = "sbndwire", "sbnd_cosmicseg", "sbndneutrino"
PRODUCER_VERTEX, PRODUCER_INTERACTION, PRODUCER_PRIMARY = "bbox_neutrino", "sbnd_interaction", "sbnd_cosmic_primary"
AHEAD = 4


@dataclass(frozen=True)
class Simulated:
    """A simulated readout and its truth.

    A source is a neutrino interaction, numbered from 1 on as in `particles`, or, after these, what a cosmic ray is.

    Attributes:
        event: with truth.
        particles: rows of PARTICLE_DTYPE, of all interactions one after the other.
        interaction: a plane each, the interaction that made a pixel, from 1 on; neutrino pixels alone.
        primary: a plane each, what made a pixel, as cosmics.PRIMARIES numbers it; cosmic pixels alone.
    """

    event: Event
    particles: np.ndarray
    interaction: tuple[PlanePixels, ...]
    primary: tuple[PlanePixels, ...]


def simulate_event(
    seed: int,
    number: int,
    interactions: int = SimulateConfig.neutrinos,
    neutral_currents: float = SimulateConfig.neutral_currents,
    cosmic_only: float = SimulateConfig.cosmic_only,
    stray_protons: float = SimulateConfig.stray_protons,
) -> Simulated:
    """Event `number` of the set that `seed` names.

    Args:
        seed: of the set.
        number: of the event.
        interactions: how many neutrino interactions lie in the image; 0 = cosmic rays alone.
        neutral_currents: the share of them that are by neutral current.
        cosmic_only: the share of events without a neutrino. Which these are is drawn apart: the others are the same
            whatever the share, and these the same as without interactions.
        stray_protons: the mean number of protons of cosmic neutrons in an event.
    """
    if np.random.default_rng([seed, number, 1]).random() < cosmic_only:
        interactions = 0
    rng = np.random.default_rng([seed, number])
    shape = ImageShape()
    neutrino = [neutrinos.interact(rng, neutral_currents) for _ in range(interactions)]
    # A group is a primary and all that comes of it: the neutrinos' are the first.
    followed = [neutrinos.follow(rng, one, group) for group, one in enumerate(neutrino)]
    others, times, primaries = cosmics.cosmics(rng, interactions, stray_protons)
    late = [one.time * geometry.DRIFT_VELOCITY / geometry.CM_PER_ROW for one in neutrino]
    times = np.concatenate([late, times])
    sources = np.concatenate([1 + np.arange(interactions), interactions + primaries])
    classes = np.array([BACKGROUND] + [NEUTRINO] * interactions + [COSMIC] * (len(cosmics.PRIMARIES) - 1))
    everything = [*followed, *others]
    deposits = [d for one in everything for d in one.deposits]
    deposits.append(shower(rng, Quanta.join([Quanta.none(), *(q for one in everything for q in one.quanta)])))
    clouds = response.drift(rng, Deposits.join(deposits), times, sources)
    planes = [
        readout.read_out(rng, response.signal(clouds, plane, shape, classes), plane, shape, classes)
        for plane in range(shape.planes)
    ]
    images, labels, source = zip(*planes, strict=True)
    rows = np.concatenate([np.zeros(0, PARTICLE_DTYPE), *(neutrinos.particles(one) for one in neutrino)])
    told = neutrinos_of(rows)
    event = Event(number, (1, seed, number), images, labels, shape, Truth(told, projected(told, shape)))
    interaction = tuple(_between(plane, 0, interactions) for plane in source)
    primary = tuple(_between(plane, interactions, len(classes) - 1) for plane in source)
    return Simulated(event, rows, interaction, primary)


def _between(plane, before, last) -> PlanePixels:
    # The pixels of the sources after `before` up to `last`, which are numbered anew from 1 on.
    chosen = (plane.values > before) & (plane.values <= last)
    return PlanePixels(plane.rows[chosen], plane.columns[chosen], plane.values[chosen] - before)


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
        for one in events(config):
            event = one.event
            assert event.label is not None and event.truth is not None and event.truth.vertices is not None
            vertices = event.truth.vertices
            writer.write(
                event.event_id,
                {
                    PRODUCER_IMAGE: event.image,
                    PRODUCER_LABEL: event.label,
                    PRODUCER_INTERACTION: one.interaction,
                    PRODUCER_PRIMARY: one.primary,
                },
                particles={PRODUCER_NEUTRINO: one.particles},
                bbox2d={PRODUCER_VERTEX: [boxes_at(vertices[:, p], event.shape) for p in range(event.shape.planes)]},
            )
            report(writer.entries, config.events, time.perf_counter() - began)


def events(config: SimulateConfig) -> Iterator[Simulated]:
    """The events in order, made by `workers` processes."""
    mixture = config.neutrinos, config.neutral_currents, config.cosmic_only, config.stray_protons
    if config.workers == 1:
        for number in range(config.events):
            yield simulate_event(config.simulation_seed, number, *mixture)
        return
    with ProcessPoolExecutor(config.workers, initializer=_end_with_parent) as pool:
        ahead: deque[Future] = deque()
        try:
            for number in range(config.events):
                # Not more at once than keeps the workers busy: the events wait here until they are written.
                if len(ahead) >= AHEAD * config.workers:
                    yield ahead.popleft().result()
                ahead.append(pool.submit(simulate_event, config.simulation_seed, number, *mixture))
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
