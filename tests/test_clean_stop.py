"""Signals that ask a process to stop."""

import os
import signal

import pytest

from cosmictagger_tf.clean_stop import CaughtSignals, exit_on_signals


@pytest.fixture(autouse=True)
def noted():
    """Handlers that note what reaches them, in the place of what ends the process."""
    came = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_either_kind_acts_at_once(noted, first, second):
    caught = CaughtSignals()
    caught.take()
    os.kill(os.getpid(), first)
    assert caught.exit_status == 128 + first and noted == []
    os.kill(os.getpid(), second)
    assert caught.exit_status == 128 + first and noted == [second]
    caught.give_back()
    os.kill(os.getpid(), first)
    assert noted == [second, first]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_was_ignored_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    caught = CaughtSignals()
    caught.take()
    os.kill(os.getpid(), number)
    assert caught.exit_status is None
    caught.give_back()
    assert signal.getsignal(number) is signal.SIG_IGN
    with exit_on_signals("nothing"):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_exit_in_order_says_what_is_left(noted, capsys, number):
    with pytest.raises(SystemExit) as ended, exit_on_signals("no file was written"):
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}; no file was written\n"
    assert noted == [] and not isinstance(signal.getsignal(number), signal.Handlers)
