"""Processes that are measured: started on one core, watched through ``/proc``, stopped again. Linux only."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Server", "cores", "cpu_of", "free_port", "on_core"]

CPU_CLOCK = 2  # Linux makes the id of another process's CPU clock of this and its pid, as clock_getcpuclockid does
USUAL_DESCRIPTORS = 1024  # soft limit of a login shell and of a systemd service


def cores() -> tuple[int, int]:
    """Return the core of what is measured and the core of everything else; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def on_core(core: int, *, descriptors: int | None = None) -> None:
    """Keep this process on one core, with a soft limit of open descriptors (None: the hard one)."""
    os.sched_setaffinity(0, {core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if descriptors is None else min(descriptors, hard), hard))


def cpu_of(process: int) -> float:
    """Return the seconds of CPU a process has used, all threads, user and kernel, to the nanosecond."""
    return time.clock_gettime((~process << 3) | CPU_CLOCK)


class Server:
    """One server process. ``port`` is where it listens, ``key`` what its callers send, ``log`` what it printed."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        core: int,
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
        ready: str,
        key: str = "",
        descriptors: int | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.key = key
        self.log = log
        self._command = list(command)
        self._core = core
        self._environment = dict(environment)
        self._folder = folder
        self._ready = ready
        self._descriptors = descriptors
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 20.0) -> float:
        """Start the process and return the seconds until it answered ``ready`` with 2xx.

        Raises:
            RuntimeError: it ended, or was not ready in time; says what it printed last.
        """
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                preexec_fn=lambda: on_core(self._core, descriptors=self._descriptors),
            )
        while time.perf_counter() - began < within:
            if self._answers():
                return time.perf_counter() - began
            if self._process.poll() is not None:
                break
            time.sleep(0.002)
        self.stop()
        printed = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not get ready: {' '.join(self._command)}\n{printed}")

    def _answers(self) -> bool:
        request = f"GET {self._ready} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(request.encode())
                return connection.recv(12)[9:10] == b"2"
        except OSError:
            return False

    def stop(self) -> int:
        """Ask the process to stop and return its exit status; one that does not within 20 s is killed."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def cpu(self) -> float:
        """Return the seconds of CPU the process has used."""
        return cpu_of(self._running().pid)

    def rss(self) -> float:
        """Return the resident memory of the process as MB (10^6 bytes)."""
        status = Path(f"/proc/{self._running().pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process
