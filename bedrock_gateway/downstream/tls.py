"""TLS for the listener: the context, kept up with its files, and the acceptor that looks at a connection before its
handshake.

A client that speaks plain HTTP to a TLS port would see nothing but a closed connection. Here the first byte decides
before anything is read: a handshake goes to TLS; anything else is served as it is where only this machine can connect,
and is told to use https elsewhere. Knows no request and makes no certificate (``certificates``).

Source: RFC 8446 section 5.1 (record type 22 = handshake); RFC 7301 (ALPN); Python ``ssl``: a context whose chain is
loaded again gives the new one to later handshakes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from bedrock_gateway.downstream.answers import refusal_bytes
from bedrock_gateway.errors import InvalidRequest, StartError

__all__ = ["TlsAcceptor", "TlsFiles", "server_context"]

_LOG = logging.getLogger("bedrock_gateway.downstream")

_HANDSHAKE = 0x16
#: Seconds between two looks at the files of a certificate.
LOOK_EVERY = 60.0
#: Seconds a client that was told to use https may take to read it.
_LINGER = 2.0
#: Seconds until a connection is accepted again where one could not be.
_ACCEPT_AGAIN = 0.1
#: Protocols offered, best first.
_PROTOCOLS = ("h2", "http/1.1")


class TlsFiles:
    """A certificate chain and its key in files, and the context that has them.

    Attributes:
        context: for the listener; what is loaded again is in it.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the files.

        Raises:
            StartError: they cannot be used; the text says which, why, and what to do.
        """
        self._files = (certificate, key)
        self._seen = self._look()
        self.context = server_context()
        self._load()

    def _load(self) -> None:
        certificate, key = self._files
        for file, what in ((certificate, "certificate"), (key, "key")):
            try:
                with file.open("rb") as opened:
                    opened.read(1)
            except OSError as error:
                raise StartError(f"{file}: the TLS {what} cannot be read: {error.strerror}") from error
        try:
            # A passphrase is never asked for: there may be no terminal.
            self.context.load_cert_chain(certificate, key, password=_no_passphrase)
        except _EncryptedKey:
            raise StartError(
                f"{key}: the TLS key is encrypted; give it without a passphrase "
                f"(openssl pkey -in {key.name} -out new.pem)"
            ) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise StartError(f"{key}: this key does not belong to the certificate in {certificate}") from error
            raise StartError(
                f"{certificate}, {key}: no TLS certificate and key in PEM ({error.reason or error}); the first file "
                "holds the certificate and those it hangs on, the second its private key"
            ) from error

    def _look(self) -> tuple[tuple[int, int], ...]:
        seen = []
        for file in self._files:
            try:
                status = os.stat(file)
                seen.append((status.st_mtime_ns, status.st_size))
            except OSError:
                seen.append((0, 0))
        return tuple(seen)

    def reload(self) -> bool:
        """Load the files again if they have changed; tell whether that was done. What cannot be used is logged, and the
        chain at hand stays.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._load()
        except StartError as error:
            _LOG.error("the TLS certificate stays as it was: %s", error)
            return False
        _LOG.info("the TLS certificate was loaded again from %s", self._files[0])
        return True

    async def keep(self, before: Callable[[], object] = lambda: None) -> None:
        """Load the files again whenever they change, until cancelled.

        Args:
            before: called before each look, in a thread: renews a certificate of our own.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await asyncio.to_thread(before)
            except StartError as error:
                _LOG.error("the TLS certificate cannot be renewed: %s", error)
            self.reload()


class _EncryptedKey(Exception):
    """The key asks for a passphrase."""


def _no_passphrase() -> str:
    raise _EncryptedKey


def server_context() -> ssl.SSLContext:
    """Return a context for servers, without a certificate yet."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    # A client that renegotiates makes work and nothing else.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


class TlsAcceptor:
    """Accepts the connections of one listening socket; has what of ``asyncio.AbstractServer`` a listener needs.

    Args:
        sock: listening; belongs to the acceptor from here on.
        greet: makes the protocol of a connection.
        plain_too: whether connections without TLS are served as well.
        seconds: a client may take to its first byte, and to the end of its handshake.
        log_seldom: takes a kind of line and its text; lines of one kind are few, whatever clients do.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        greet: Callable[[], asyncio.Protocol],
        *,
        plain_too: bool,
        seconds: float,
        log_seldom: Callable[[str, str], None],
    ) -> None:
        self._sock = sock
        self._context = context
        self._greet = greet
        self._plain_too = plain_too
        self._seconds = seconds
        self._log_seldom = log_seldom
        self._loop = asyncio.get_running_loop()
        self._meeting: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept(), name="accept TLS")

    def close(self) -> None:
        """Accept nothing any more; who is not through its handshake yet is cut."""
        self._accepting.cancel()
        for task in self._meeting:
            task.cancel()

    async def _accept(self) -> None:
        with self._sock:
            while True:
                try:
                    sock, _ = await self._loop.sock_accept(self._sock)
                except OSError as error:
                    # Out of descriptors, mostly: those that wait are accepted once there are some.
                    self._log_seldom("accept", f"A connection cannot be accepted: {error.strerror or error}")
                    await asyncio.sleep(_ACCEPT_AGAIN)
                    continue
                sock.setblocking(False)
                task = self._loop.create_task(self._meet(sock), name="meet a client")
                self._meeting.add(task)
                task.add_done_callback(self._meeting.discard)

    async def _meet(self, sock: socket.socket) -> None:
        """Look at the first byte, and hand the connection on."""
        handed_over = False
        try:
            async with asyncio.timeout(self._seconds):
                first = await _first_byte(self._loop, sock)
            if not first:
                return
            if first[0] == _HANDSHAKE:
                handed_over = True  # the transport closes it, also when the handshake fails
                await self._loop.connect_accepted_socket(
                    self._greet, sock, ssl=self._context, ssl_handshake_timeout=self._seconds
                )
            elif self._plain_too:
                handed_over = True
                await self._loop.connect_accepted_socket(self._greet, sock)
            else:
                self._log_seldom(
                    "plain", "A client speaks plain HTTP to this port, which takes TLS: use https:// there"
                )
                async with asyncio.timeout(_LINGER):
                    await self._refuse(sock)
        except TimeoutError:
            pass
        except ssl.SSLError as error:
            self._log_seldom("tls", f"A TLS handshake failed: {_told(error)}")
        except OSError:
            # Many clients that do not trust the certificate go without a word.
            self._log_seldom(
                "tls", f"A client broke its TLS handshake off; if it does not trust the certificate: {_REMEDY}"
            )
        finally:
            if not handed_over:
                sock.close()

    async def _refuse(self, sock: socket.socket) -> None:
        await self._loop.sock_sendall(sock, refusal_bytes(_USE_HTTPS))
        sock.shutdown(socket.SHUT_WR)
        # Closed with something unread, the answer would be taken away by a reset.
        while await self._loop.sock_recv(sock, 65_536):
            pass


_REMEDY = "AWS_CA_BUNDLE (Node.js: NODE_EXTRA_CA_CERTS) has to name its CA"
_USE_HTTPS = InvalidRequest("This port takes TLS: use https:// in the endpoint URL.")


async def _first_byte(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """Return the first byte of a connection and leave it there; empty where the client has gone."""
    while True:
        try:
            return sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            readable = asyncio.Event()
            loop.add_reader(sock, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(sock)


def _told(error: ssl.SSLError) -> str:
    """Return what a failed handshake says, with the remedy for the usual reason."""
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "unknown ca" in reason or "certificate unknown" in reason or "bad certificate" in reason:
        return f"the client does not trust the certificate ({reason}): {_REMEDY}"
    return reason
