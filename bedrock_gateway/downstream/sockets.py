"""Bind the listening sockets, before anything else: a second gateway on a port must not get to the ledger.

Knows socket addresses and what the operating system says about them; knows nothing of HTTP. The sockets listen when
they are given back, because only then a port is surely ours; clients that connect before the gateway is ready wait.

Source: ip(7), tcp(7), unix(7); accepted connections inherit the TCP keep-alive settings of the listening socket.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bedrock_gateway.errors import StartError

__all__ = ["bind", "is_loopback"]

_BACKLOG = 1024
#: Seconds until a silent connection is probed, seconds between probes, and how many go unanswered before it is dead:
#: two minutes in all, so that a laptop that went to sleep does not hold its request for hours.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


def bind(host: str, port: int, unix_socket: Path | None = None) -> list[socket.socket]:
    """Return listening sockets: of ``unix_socket`` (mode 0600) if given, else one for each address of ``host``.

    Port 0 takes a free port, the same one for all addresses where possible.

    Raises:
        StartError: with one line that says what is wrong and what to do.
    """
    if unix_socket is not None:
        return [_bind_unix(unix_socket)]
    return _bind_tcp(host.strip().removeprefix("[").removesuffix("]"), port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach ``host``: ``localhost`` or a loopback literal, never another name."""
    host = host.strip().removeprefix("[").removesuffix("]").lower()
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    if not host:
        raise StartError("no host to listen on; give one with --host, for example 127.0.0.1")
    if not 0 <= port <= 65535:
        raise StartError(f"{port} is not a port; give one from 1 to 65535 with --port (0 takes a free one)")
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise StartError(
            f"the host {host!r} cannot be resolved; give --host an address of this machine, for example 127.0.0.1"
        ) from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    absent: StartError | None = None
    try:
        for family, address in addresses:
            if sockets and port == 0:
                # A name with two addresses gets one port for both.
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_listen(family, address, dual=host == "::"))
            except OSError as error:
                fault = StartError(_tcp_fault(error, host, address))
                if len(addresses) > 1 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    # "localhost" has an IPv6 address on machines without IPv6.
                    absent = fault
                    continue
                raise fault from None
        if not sockets and absent is not None:
            raise absent
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(family: int, address: tuple[object, ...], *, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        sock.bind(address)
        # With SO_REUSEADDR two sockets can be bound to one port; only one of them can listen.
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _tcp_fault(error: OSError, host: str, address: tuple[object, ...]) -> str:
    port = address[1]
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another process (ss -ltnp 'sport = :{port}' names it); stop it or use --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to listen on {where}; use --port with 1024 or more, "
            "or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address[0]} is not an address of this machine; give --host one that is, for example 127.0.0.1"
    return f"cannot listen on {where}: {os.strerror(error.errno or 0)}; choose another --host or --port"


def _bind_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_lock(path):
            _clear_stale(path)
            sock.bind(os.fspath(path))
            # Nobody can connect before listen(), so nobody gets in before the mode is right.
            os.chmod(path, 0o600)
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StartError(_unix_fault(error, path)) from None
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    """Keep a second gateway from taking the fresh socket of a first one for a stale one and removing it."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"another process is just starting in {path.parent}; start again, or use another path"
            ) from None
        yield
    finally:
        os.close(directory)


def _clear_stale(path: Path) -> None:
    """Remove a socket nobody listens on.

    Raises:
        StartError: somebody does, or it is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} exists and is not a socket; remove it or give --unix-socket another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full: somebody listens
    raise StartError(f"{path} is in use by another process; stop it or give --unix-socket another path")


def _unix_fault(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to make the socket {path}; give --unix-socket a path in a directory you may write to"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"the directory {path.parent} does not exist; make it or give --unix-socket another path"
    if error.errno == errno.EADDRINUSE:
        return f"{path} is in use by another process; stop it or give --unix-socket another path"
    if error.errno is None:
        # The address does not fit into sockaddr_un (107 bytes); Python itself says so, without an errno.
        return f"the path {path} is too long for a socket (107 bytes); give --unix-socket a shorter one"
    return f"cannot make the socket {path}: {os.strerror(error.errno)}; give --unix-socket another path"
