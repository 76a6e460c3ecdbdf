"""Binding: what is given back, and one clear line for everything that can be wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from bedrock_gateway.downstream.sockets import bind, is_loopback
from bedrock_gateway.errors import StartError


def fault(*arguments: object) -> str:
    """Return the line that binding fails with, and check that it is one line."""
    with pytest.raises(StartError) as found:
        bind(*arguments)  # type: ignore[arg-type]
    line = str(found.value)
    assert line and "\n" not in line
    return line


def close(sockets: list[socket.socket]) -> None:
    """Close sockets."""
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "::1", "0.0.0.0"])
def test_bound_sockets_listen(host: str) -> None:
    """Bound sockets listen already: a client that is early waits instead of being refused."""
    sockets = bind(host, 0)
    try:
        assert 1 == len({sock.getsockname()[1] for sock in sockets})
        for sock in sockets:
            name = sock.getsockname()[0].replace("0.0.0.0", "127.0.0.1")
            socket.create_connection((name, sock.getsockname()[1]), timeout=5).close()
            assert 0 != sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert not sock.getblocking()
    finally:
        close(sockets)


def test_taken_port_is_refused() -> None:
    """A port somebody listens on is named, and what to do about it."""
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    try:
        line = fault("127.0.0.1", port)
        assert f"port {port} on 127.0.0.1 is taken" in line
        assert "--port" in line
        assert "taken" in fault("0.0.0.0", port)
    finally:
        close(sockets)


def test_port_is_free_again_at_once() -> None:
    """Connections that have just ended do not keep a port from being bound again."""
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    sockets[0].setblocking(True)
    accepted, _ = sockets[0].accept()
    accepted.close()
    client.close()
    close(sockets)
    close(bind("127.0.0.1", port))


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("", 0, "--host"),
        ("no.such.host.invalid", 0, "cannot be resolved"),
        ("1.2.3.4.5", 0, "cannot be resolved"),
        ("a" * 300, 0, "cannot be resolved"),
        ("192.0.2.1", 0, "not an address of this machine"),
        ("127.0.0.1", -1, "not a port"),
        ("127.0.0.1", 65536, "not a port"),
    ],
)
def test_bad_addresses(host: str, port: int, says: str) -> None:
    """Every address that cannot be listened on is explained in one line."""
    assert says in fault(host, port)


def test_port_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port below 1024 without the right to it says how to get on."""

    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    line = fault("127.0.0.1", 80)
    assert "no permission to listen on port 80" in line
    assert "1024" in line


def test_unix_socket_is_private(tmp_path: Path) -> None:
    """Only the owner can connect to the socket, whatever the umask."""
    path = tmp_path / "gateway.sock"
    old = os.umask(0)
    try:
        sockets = bind("", 0, path)
    finally:
        os.umask(old)
    try:
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    finally:
        close(sockets)


def test_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """A socket a dead process left behind does not stand in the way."""
    path = tmp_path / "gateway.sock"
    close(bind("", 0, path))
    assert path.exists()
    close(bind("", 0, path))


def test_unix_socket_of_a_live_process_is_kept(tmp_path: Path) -> None:
    """A socket somebody listens on is never taken away."""
    path = tmp_path / "gateway.sock"
    sockets = bind("", 0, path)
    try:
        inode = path.stat().st_ino
        assert "in use by another process" in fault("", 0, path)
        assert inode == path.stat().st_ino
    finally:
        close(sockets)


def test_two_processes_starting_on_one_path(tmp_path: Path) -> None:
    """While another process is binding there, the second one does not touch the path."""
    path = tmp_path / "gateway.sock"
    close(bind("", 0, path))
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        assert "just starting" in fault("", 0, path)
        assert path.exists()
    finally:
        os.close(directory)


def test_bad_unix_paths(tmp_path: Path) -> None:
    """A file in the way, a missing directory and a path that is too long are told apart; the file is kept."""
    (tmp_path / "file").write_text("precious")
    assert "is not a socket" in fault("", 0, tmp_path / "file")
    assert "precious" == (tmp_path / "file").read_text()
    assert "does not exist" in fault("", 0, tmp_path / "missing" / "gateway.sock")
    assert "too long" in fault("", 0, tmp_path / ("x" * 200))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert "is not a socket" in fault("", 0, tmp_path / "link")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("LocalHost", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("192.168.1.2", False),
        ("localhost.example", False),
        ("gateway.lan", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Loopback is what only this machine can reach; a name that is not localhost counts as routable."""
    assert expected == is_loopback(host)
