"""Ranks that are threads of this process, so that what they agree on is tested without Horovod and in no time."""

import threading
from concurrent.futures import ThreadPoolExecutor

from cosmictagger_tf.training.distributed.ranks import Ranks


class ThreadRanks(Ranks):
    """One of several; they meet at a barrier, which breaks, and fails the test, where one of them never comes."""

    def __init__(self, rank, barrier, board):
        self.rank, self.size, self.local_rank = rank, len(board), rank
        self.barrier, self.board = barrier, board

    def _from_all(self, thing):
        self.board[self.rank] = thing
        self.barrier.wait()
        shares = list(self.board)
        self.barrier.wait()
        return shares


def together(job, size=2):
    """What a job gives on each rank, by rank: its result, or the exception that it raised."""
    barrier, board = threading.Barrier(size, timeout=60), [None] * size

    def one(rank):
        try:
            return job(ThreadRanks(rank, barrier, board))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))
