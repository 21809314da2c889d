"""Heartbeats between objects of one process: who is noticed missing, by whom, and who says it."""

import socket
import time

import pytest

from cosmictagger_tf.training.distributed.heartbeat import Heartbeat


@pytest.fixture
def ranks():
    """Three heartbeats, and what they reported lost: (rank that noticed, rank that is lost)."""
    address, lost, made = [], [], []

    def share(given):
        address.extend([given] if given else [])
        return address[0]

    for rank in range(3):
        made.append(Heartbeat(rank, 3, share, lambda other, rank=rank: lost.append((rank, other)), limit=3.0))
    wait_until(lambda: set(made[0].seen) == {1, 2} and set(made[1].seen) == set(made[2].seen) == {0})
    yield made, lost
    for one in made:
        one.stop()


def wait_until(true, seconds=30.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_silent_rank_is_noticed_by_rank_0_alone(ranks):
    made, lost = ranks
    assert not lost
    made[2].stop()
    wait_until(lambda: lost)
    assert lost == [(0, 2)] and made[0].silent(2.0) == [2]


def test_a_silent_rank_0_is_noticed_by_the_others(ranks):
    made, lost = ranks
    made[0].stop()
    wait_until(lambda: len(lost) == 2)
    assert sorted(lost) == [(1, 0), (2, 0)]


def test_who_fails_says_so_and_is_not_called_lost(ranks):
    made, lost = ranks
    assert not made[2].report_failed(patience=0.2), "rank 0 has not failed: rank 2 reports itself"
    wait_until(lambda: made[0].failed == {2})
    made[2].stop()
    time.sleep(4.0)
    assert not lost


def test_where_rank_0_fails_too_it_reports_for_both(ranks):
    made, _ = ranks
    made[0].report_failed()
    assert made[1].report_failed(patience=30.0) and made[2].report_failed(patience=30.0)


def test_what_others_send_to_the_port_counts_for_nothing(ranks):
    made, lost = ranks
    stranger, port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), made[0].socket.getsockname()[1]
    token = made[0].token
    for message in (
        b"5 alive",
        b"GET /",
        b"%s x alive" % token,
        b"%s 7 alive" % token,
        b"%s 0 failed" % token,
        b"00 2 failed",
    ):
        stranger.sendto(message, ("127.0.0.1", port))
    before = made[0].seen[1]
    wait_until(lambda: made[0].seen[1] > before + 1.5)
    assert set(made[0].seen) == {1, 2} and not made[0].failed and not lost
    stranger.close()
