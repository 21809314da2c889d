"""The errors that a user can cause and mend: each is one line, naming the culprit and the way out."""


class UserError(Exception):
    """A mistake in what the user gave. The doors print its one line and exit with its status, without a traceback.

    Attributes:
        settled: whether the ranks of the job know of it, and this one is to say it.
    """

    exit_status = 2
    settled = False


class RankLost(UserError):
    """Another rank of the job is gone or hangs. Nothing is wrong with the command: given again, it resumes."""

    exit_status = 75


class StoppedElsewhere(UserError):
    """This rank stops because another one did, which itself says why: nothing is printed for this one."""


class ConfigError(UserError):
    """A flag has an impossible value, or two flags contradict each other. The message names the flags."""


class WriteError(UserError):
    """A file cannot be written: the disk is full, a quota used up, a folder forbidden. What was there stays."""


class NonFiniteError(UserError):
    """The training stops because a number is not finite; the message names the step, the events and the way out."""


class DataError(UserError):
    """A file holds what cannot be read rightly.

    Args:
        file: path of the file.
        reason: what is wrong and what to do about it, without a full stop.
        entry: the entry (event) of the file, where one is to blame.
        plane: the wire plane, where one is to blame.
    """

    def __init__(self, file, reason: str, entry: int | None = None, plane: int | None = None):
        self.file, self.reason, self.entry, self.plane = str(file), reason, entry, plane
        where = [self.file]
        if entry is not None:
            where.append(f"entry {entry}")
        if plane is not None:
            where.append(f"plane {plane}")
        super().__init__(f"{', '.join(where)}: {reason}")

    def __reduce__(self):
        # Ranks tell each other of bad events.
        return DataError, (self.file, self.reason, self.entry, self.plane)


class MissingPackageError(UserError):
    """An optional package is not installed. The message says what it is for and how to install it."""

    def __init__(self, package: str, purpose: str, command: str):
        super().__init__(f"{purpose} needs the package {package}, which is not installed: run `{command}`")
