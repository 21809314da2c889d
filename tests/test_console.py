"""What a command logs is printed at once, a line a record, by rank 0."""

import logging
import subprocess
import sys

import pytest

from cosmictagger_tf.console import log_lines
from cosmictagger_tf.training.distributed.jobs import run_as
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger("cosmictagger_tf.some.module")


def test_lines_go_to_standard_output_and_warnings_to_standard_error(capsys):
    with log_lines(0):
        log.info("written: %d %%", 5)
        log.warning("slow")
    log.info("nobody prints this")
    assert capsys.readouterr() == ("written: 5 %\n", "slow\n")


def test_other_ranks_print_their_warnings_alone(capsys):
    class Second(Ranks):
        rank, size = 1, 2

    with log_lines(0):
        run_as(Second(), lambda ranks: (log.info("a line"), log.warning("a warning")))
    assert capsys.readouterr() == ("", "a warning\n")
    with log_lines(1):
        log.info("a line")
        run_as(Ranks(), lambda ranks: log.info("it became rank 0"))
    assert capsys.readouterr().out == "it became rank 0\n"


@pytest.mark.parametrize("ending", ["> /dev/full", "| head -n 0"])
def test_a_stream_that_refuses_ends_the_command(ending):
    program = "import logging; from cosmictagger_tf.console import log_lines\nwith log_lines(0):\n"
    program += " for i in range(100000): logging.getLogger('cosmictagger_tf').info('line')"
    command = f'set -o pipefail; {sys.executable} -c "{program}" {ending}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode and ("BrokenPipeError" in done.stderr or "No space left" in done.stderr)
