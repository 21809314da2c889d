"""Whether the files of a training tell what the heads of its network learn from."""

import logging

from cosmictagger_tf.config import NetworkConfig, TruthConfig
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import listed

log = logging.getLogger(__name__)


def check_truth(reader: Reader, network: NetworkConfig, truth: TruthConfig):
    """Refuses files none of which has what a head learns from; logs how many of them have not.

    Files of cosmic rays alone need no truth products: their labels show that there is no neutrino. From such files
    alone, and from files whose product has another name, a head would learn nothing but this one answer.

    Args:
        reader: of the files, with their truth.
        network: the one to be trained.
        truth: which products were looked for.

    Raises:
        ConfigError: no file tells the interactions (--event_head), or the vertices (--vertex_head).
    """
    particle = f"particle_{truth.producer_particle}"
    vertices = f"bbox2d_{truth.producer_vertex}, cluster2d_{truth.producer_vertex_cluster}"
    if network.event_head:
        told = [sources.interactions for sources in reader.truth_sources]
        _check(reader, told, "event_head", particle, "see --producer_particle")
    if network.vertex_head:
        told = [sources.vertices for sources in reader.truth_sources]
        wanted = f"{vertices} or, for images of SBND's shape, {particle} with vertices"
        flags = "see --producer_vertex, --producer_vertex_cluster and --producer_particle"
        _check(reader, told, "vertex_head", wanted, flags)


def _check(reader: Reader, told: list[bool], head: str, wanted: str, flags: str):
    if all(told):
        return
    first = told.index(False)
    if not any(told):
        raise ConfigError(
            f"--{head}: no file of --file has {wanted} ({reader.files[first]} has: "
            f"{listed(reader.truth_sources[first].products)}): {flags}, or train without this head"
        )
    log.info(
        f"--{head}: {told.count(False)} of {len(told)} files, the first of them {reader.files[first]}, do not have "
        f"{wanted}: of their readouts it learns from those without a neutrino alone"
    )
