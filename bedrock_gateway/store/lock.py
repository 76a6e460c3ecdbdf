"""The lock that says "a gateway lives on this database": an OS lock on its own file, held as long as the process lives.

Knows ``flock(2)`` only. The kernel gives the lock back when the process ends in any way, so a lock that can be had
means that every earlier run is dead. The lock file stays behind on purpose: removing it would let two processes lock
two files of one name.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import attrs

from bedrock_gateway.errors import StartError

__all__ = ["DatabaseLock", "lock_of"]


def lock_of(database: Path) -> Path:
    """Return the lock file of a database (a resolved path)."""
    return database.with_name(database.name + ".lock")


@attrs.define(eq=False)
class DatabaseLock:
    """A held lock.

    Attributes:
        path: the lock file.
        descriptor: its open file, or -1 once released.
    """

    path: Path
    descriptor: int

    @classmethod
    def acquire(cls, database: Path, pid: int) -> DatabaseLock:
        """Lock ``database`` (a resolved path) for this process, without waiting.

        Raises:
            StartError: another process holds it (its pid is named), or the file cannot be locked.
        """
        path = lock_of(database)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StartError(f"{path}: cannot be opened for the ledger's lock: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).strip().decode("ascii", "replace")
            os.close(descriptor)
            named = f"pid {holder}" if holder.isdigit() else "pid unknown"
            raise StartError(
                f"{database}: another bedrock-gateway ({named}) runs on this database; "
                "stop it or name another with --database"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise StartError(
                f"{path}: cannot be locked ({error.strerror}); the ledger needs a local file system"
            ) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{pid}\n".encode("ascii"), 0)
        except OSError as error:
            os.close(descriptor)
            raise StartError(f"{path}: cannot be written: {error.strerror}") from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock back; doing so twice is harmless."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
