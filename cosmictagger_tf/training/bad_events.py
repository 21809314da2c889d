"""Bad events that a command may skip: counted over its ranks and its restarts, logged, and limited."""

import logging
from collections.abc import Iterable

from cosmictagger_tf.errors import DataError
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)


class BadEvents:
    """The different bad events so far; the same on all ranks.

    Args:
        most: how many may be skipped; 0 = none: reading stops at the first.
        ranks: count them together.
        known: those before the run was resumed, as in `record`.
    """

    def __init__(self, most: int, ranks: Ranks, known: Iterable = ()):
        self.most, self.ranks = most, ranks
        self.places = {(str(file), int(entry)) for file, entry in known}

    @property
    def record(self) -> list:
        """[file, entry] of each, for a checkpoint's manifest."""
        return [list(place) for place in sorted(self.places)]

    def is_new(self, errors: list[DataError]) -> bool:
        """Whether one of them was not counted yet."""
        return any((error.file, error.entry) not in self.places for error in errors)

    def watch(self, errors: list[DataError]):
        """Between counts, at any time: one process counts; one of many stops where it alone has read too many.

        Raises:
            DataError: they are too many.
        """
        if self.ranks.size == 1:
            self.count(errors)
        elif len(errors) > self.most:
            raise self._too_many(errors[self.most])

    def count(self, errors: list[DataError]):
        """Counts those of the ranks; all ranks call it at the same time.

        Raises:
            DataError: they are too many; the first one too many is named.
        """
        for error in (error for part in self.ranks.gather(errors) for error in part):
            place = (error.file, error.entry)
            if place in self.places:
                continue
            if len(self.places) >= self.most:
                with self.ranks.agreed():
                    raise self._too_many(error)
            self.places.add(place)
            log.info(f"skipped: {error} ({len(self.places)} of at most {counted(self.most, 'bad event')})")

    def log_left_out(self, errors: list[DataError]):
        """Logs the events that a validation leaves out, in one line; all ranks call it at the same time."""
        all_errors = [error for part in self.ranks.gather(errors) for error in part]
        if all_errors:
            more = [f"and {len(all_errors) - 3} more"] if len(all_errors) > 3 else []
            shown = "; ".join([*map(str, all_errors[:3]), *more])
            log.info(f"validation leaves out {counted(len(all_errors), 'event')}: {shown}")

    def _too_many(self, error):
        if not self.most:
            return error
        reason = f"{error.reason} (--skip_bad_events={self.most}: so many were skipped already)"
        return DataError(error.file, reason, error.entry, error.plane)
