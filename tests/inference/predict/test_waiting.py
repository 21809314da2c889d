"""Rank 0 of a prediction and the ranks that it waits for, without ranks: who is named, and who is given up."""

import time

import pytest

from cosmictagger_tf.errors import ConfigError, RankLost
from cosmictagger_tf.inference.predict import waiting
from cosmictagger_tf.inference.predict.scores_file import Part, WorkFolder
from tests.distributed.threads import together


class Time:
    """A clock that advances only where somebody sleeps; at its moments something happens."""

    def __init__(self, happens):
        self.now, self.happens = 0.0, happens

    def clock(self):
        return self.now

    def sleep(self, seconds):
        before, self.now = self.now, self.now + seconds
        for moment, event in self.happens.items():
            if before < moment <= self.now:
                event()


@pytest.fixture
def work(tmp_path):
    folder = WorkFolder(tmp_path / "s.h5")
    folder.path.mkdir()
    return folder


PARTS = [Part(number, number, number + 1) for number in range(6)]


def put(work, *numbers):
    return lambda: [(work.path / f"part_{number:06d}.npz").touch() for number in numbers]


def wait(caplog, work, happens, ranks=3):
    caplog.clear()
    moments = Time(happens)
    waiting.wait_for_parts(work, PARTS, ranks, moments.clock, moments.sleep)
    return caplog.messages


def test_who_is_waited_for_is_named_and_only_they(work, caplog):
    put(work, 0, 3)()
    lines = wait(caplog, work, {1.0: put(work, 1, 4), 30.0: put(work, 2), 31.0: put(work, 5)})
    assert lines == ["waiting for rank 2: 2 of 6 parts are missing"] * 2
    assert wait(caplog, work, {}) == [], "all are there"


def test_a_rank_that_shows_life_is_waited_for_as_long_as_it_takes(work, caplog):
    put(work, 0, 3, 1, 4)()
    alive = work.path / "rank_2.alive"
    happens = {t: lambda t=t: alive.write_text(f"token {t}") for t in range(0, 5000, 100)}
    lines = wait(caplog, work, happens | {5000.0: put(work, 2, 5)})
    assert len(lines) > 100 and set(lines) == {"waiting for rank 2: 2 of 6 parts are missing"}


@pytest.mark.parametrize("last", [None, "token 7"])
def test_a_rank_that_shows_none_is_given_up(work, caplog, last):
    put(work, 0, 3, 1)()
    if last:
        (work.path / "rank_2.alive").write_text(last)
    with pytest.raises(
        RankLost, match=r"rank 1 has given no sign.*3 of 6 parts.*ranks 1, 2.*the same command.*resumes"
    ):
        wait(caplog, work, {})
    assert RankLost.exit_status == 75
    assert work.exists(PARTS[1]), "what is there stays"


def test_ranks_whose_folders_are_not_one_stop_before_they_work(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "LAG", 0.5)

    def job(ranks):
        work = WorkFolder(tmp_path / ("here" if ranks.rank != 1 else "there") / "s.h5")
        work.path.mkdir(parents=True, exist_ok=True)
        with waiting.signs_of_life(work, ranks):
            return "works"

    results = together(job, 3)
    assert isinstance(results[0], ConfigError) and "rank 1 does not share its folder" in str(results[0])
    assert all(isinstance(result, Exception) for result in results)


def test_who_stands_still_is_named_while_rank_0_works(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "INTERVAL", 0.01)
    monkeypatch.setattr(waiting, "PAUSE", 0.5)
    work = WorkFolder(tmp_path / "s.h5")
    work.path.mkdir()

    def job(ranks):
        with waiting.signs_of_life(work, ranks):
            ranks.gather(None)
            if ranks.rank == 2:
                # As if it was suspended.
                seen = waiting._sign
                monkeypatch.setattr(waiting, "_sign", lambda work, rank: "still" if rank == 2 else seen(work, rank))
            ranks.gather(None)
            until = time.monotonic() + 30
            while ranks.rank != 1 and not caplog.messages and time.monotonic() < until:
                time.sleep(0.05)
        # Rank 1 is done long before, and shows no life any more.
        time.sleep(1.2 if ranks.rank == 1 else 0)

    together(job, 3)
    assert caplog.messages == ["rank 2 has given no sign of life for 0 s"]


def test_ranks_that_share_the_folder_work_and_show_life(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "INTERVAL", 0.05)
    work = WorkFolder(tmp_path / "s.h5")
    work.path.mkdir()

    def job(ranks):
        with waiting.signs_of_life(work, ranks):
            other = work.path / f"rank_{1 - ranks.rank}.alive"
            first = other.read_text()
            while not (now := other.read_text()) or now == first:
                pass
            ranks.gather(None)
            return first.split()[0] == now.split()[0]

    assert together(job) == [True, True]
