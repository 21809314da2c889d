"""What is shown of work that takes long."""

import io
import logging
import time

import pytest

from cosmictagger_tf import progress as module
from cosmictagger_tf.console import log_lines
from cosmictagger_tf.progress import EventProgress, activity
from tests.commands import Screen


def test_an_activity_is_shown_every_few_seconds_until_it_is_done(monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE", 0.05)
    with log_lines(0):
        with activity("thinking"):
            time.sleep(0.5)
        shown = capsys.readouterr().out.splitlines()
        time.sleep(0.2)
    assert len(shown) >= 3 and all(line.startswith("thinking: ") and line.endswith(" s") for line in shown)
    assert capsys.readouterr().out == "", "it goes on after its end"


def test_of_an_activity_within_another_the_inner_one_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE", 0.05)
    with log_lines(0), activity("writing"):
        time.sleep(0.2)
        with activity("tracing"):
            time.sleep(0.3)
            # While it goes on: after it the outer one is shown again.
            shown = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == sorted(shown, reverse=True) and {"writing", "tracing"} == set(shown)


def test_an_activity_that_fails_or_is_short_leaves_no_line(monkeypatch, capsys):
    with log_lines(0):
        with activity("thinking"):
            pass
        with pytest.raises(ValueError), activity("failing"):
            raise ValueError
    assert capsys.readouterr().out == ""


def test_on_a_terminal_nothing_is_left_of_an_activity(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    with log_lines(0), activity("thinking"):
        logging.getLogger("cosmictagger_tf").info("a line in between")
    assert "thinking" in screen.getvalue() and "a line in between" in screen.getvalue()
    # The cursor is shown again, and the line erased.
    assert screen.getvalue().rstrip().endswith("\x1b[2K") and "\x1b[?25h" in screen.getvalue()


def test_an_activity_of_another_rank_is_not_shown(monkeypatch, capsys):
    monkeypatch.setattr(module, "SILENCE", 0.02)
    with log_lines(3), activity("thinking"):
        time.sleep(0.2)
    assert capsys.readouterr().out == ""


def test_it_counts_says_how_fast_and_ends():
    shown = io.StringIO()
    progress = EventProgress(8, "scored", shown)
    progress.began = progress.shown = progress.began - 20
    progress.advance(2)
    assert shown.getvalue().startswith("scored 2/8 events  0.10 images/s  ") and "left" in shown.getvalue()
    progress.advance(1)
    assert len(shown.getvalue().splitlines()) == 1, "no more than one line in ten seconds"
    # Fillers count, but there are no more events than there are.
    progress.advance(100)
    assert shown.getvalue().splitlines()[-1].startswith("scored 8/8 events")


def test_before_the_first_event_there_is_nothing_to_say():
    shown = io.StringIO()
    progress = EventProgress(8, "scored", shown)
    progress.shown -= 20
    progress.advance(0)
    assert shown.getvalue() == ""
