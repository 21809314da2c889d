"""Notices a rank that is gone or hangs, where the communication library would wait for ever.

Every rank sends rank 0 a datagram a second, and rank 0 answers each, so that thousands of ranks need no connection
each. A rank is watched from the first datagram on that came through: a network that drops them all is not watched.
"""

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable

INTERVAL = 1.0
# A process that sends nothing for so long hangs; shorter gaps occur where a node is overloaded.
LIMIT = 20.0


class Heartbeat:
    """Watches the other ranks from a thread.

    Args:
        rank, size: this process's number, and how many there are.
        share: a collective that gives every rank what rank 0 gave: takes and returns a string.
        lost: called, once and from the thread, with the rank that has been silent too long.
        limit: seconds of silence that are too long.
    """

    def __init__(
        self, rank: int, size: int, share: Callable[[str], str], lost: Callable[[int], None], limit: float = LIMIT
    ):
        self.rank, self.size, self.lost, self.limit = rank, size, lost, limit
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(INTERVAL / 4)
        self.seen: dict[int, float] = {}
        self.failed: set[int] = set()
        self.first_peer = None
        self.word = b"alive"
        address = ""
        if rank == 0:
            self.socket.bind(("", 0))
            # The token marks this job's datagrams: another job, or whoever scans ports, may send to this one.
            address = f"{socket.gethostname()}:{self.socket.getsockname()[1]}:{secrets.token_hex(8)}"
        host, port, token = share(address).rsplit(":", 2)
        self.token = token.encode()
        self.server = (_resolved(host), int(port))
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self.thread.start()

    def silent(self, seconds: float) -> list[int]:
        """The ranks not heard from for so long, among those ever heard from that have not reported that they failed."""
        now = time.monotonic()
        return [r for r, seen in self.seen.items() if now - seen > seconds and r not in self.failed]

    def report_failed(self, patience: float = 1.0) -> bool:
        """Sends the others (rank 0, or rank 0 sends rank 1) that this rank fails, and will report why.

        Returns:
            Whether rank 0 fails in the same moment, and will report it for both.
        """
        self.word = b"failed"
        self._send(self.word)
        until = time.monotonic() + patience
        while self.rank and 0 not in self.failed and time.monotonic() < until:
            time.sleep(0.05)
        return 0 in self.failed

    def stop(self):
        """Watches no more."""
        self.stopping.set()
        self.thread.join(2 * INTERVAL)
        self.socket.close()

    def _send(self, what: bytes):
        address = self.server if self.rank else self.first_peer
        # What cannot be sent now is sent again in a second.
        with contextlib.suppress(OSError):
            if address:
                self.socket.sendto(self._message(what), address)

    def _message(self, what: bytes) -> bytes:
        return b"%s %d %s" % (self.token, self.rank, what)

    def _watch(self):
        sent = turned = time.monotonic()
        self._send(b"alive")
        while not self.stopping.is_set():
            self._receive()
            now = time.monotonic()
            if now - turned > self.limit / 3:
                # It was this process that stood still, or the whole job was suspended.
                self.seen = dict.fromkeys(self.seen, now)
            turned = now
            if now - sent > INTERVAL:
                sent = now
                self._send(self.word)
            for rank in self.silent(self.limit):
                self.lost(rank)
                return

    def _receive(self):
        try:
            message, sender = self.socket.recvfrom(64)
            token, number, what = message.split()
            rank = int(number)
        except (OSError, ValueError):
            return
        if token != self.token or rank == self.rank or not 0 <= rank < self.size:
            return
        self.seen[rank] = time.monotonic()
        if what == b"failed":
            self.failed.add(rank)
        if self.rank == 0:
            self.first_peer = sender if rank == 1 else self.first_peer
            with contextlib.suppress(OSError):
                self.socket.sendto(self._message(self.word), sender)


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return "127.0.0.1"
