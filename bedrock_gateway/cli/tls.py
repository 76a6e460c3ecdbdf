"""``serve --tls``: the certificate, given or made, and what is said of it."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from bedrock_gateway.downstream.tls import TlsFiles
from bedrock_gateway.errors import StartError

if TYPE_CHECKING:
    from bedrock_gateway.downstream.certificates import LocalFiles

__all__ = ["Tls", "add_options", "open_tls"]

#: Names this machine has for itself.
_LOCAL = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")


@attrs.frozen(kw_only=True)
class Tls:
    """TLS for the listener.

    Attributes:
        files: with the context.
        renew: renews a certificate of our own where that is due; runs in a thread.
        told: lines for who starts the gateway, "" for none.
        authority: certificate that clients have to trust, where it is of our own.
    """

    files: TlsFiles
    renew: Callable[[], object] = lambda: None
    told: str = ""
    authority: Path | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of TLS."""
    tls = parser.add_argument_group("TLS", "without files a certificate authority of this gateway's own is made, once")
    tls.add_argument(
        "--tls", action="store_true", help="take TLS (https://); boto3 from 1.44 on sends API keys no other way"
    )
    tls.add_argument("--tls-cert", metavar="FILE", type=Path, help="certificate, and those it hangs on, in PEM")
    tls.add_argument("--tls-key", metavar="FILE", type=Path, help="its private key, in PEM, without a passphrase")


def open_tls(args: argparse.Namespace, allowed_hosts: tuple[str, ...], database: Path) -> Tls | None:
    """Return TLS as options say, or None without it.

    Args:
        allowed_hosts: further names clients call the gateway by.
        database: an absolute path; certificates of our own lie beside it.

    Raises:
        StartError: what is asked for cannot be had.
    """
    if not (args.tls or args.tls_cert or args.tls_key):
        return None
    if args.unix_socket is not None:
        raise StartError("--tls: a unix socket takes no TLS; who can reach it is said by its file's mode")
    if (args.tls_cert is None) != (args.tls_key is None):
        missing = "--tls-key" if args.tls_key is None else "--tls-cert"
        raise StartError(f"{missing} is missing: a certificate and its key are given together, or neither")
    if args.tls_cert is not None:
        return Tls(files=TlsFiles(args.tls_cert, args.tls_key))
    # cryptography comes with it: only where a certificate of our own is wanted.
    from bedrock_gateway.downstream.certificates import local_certificate

    host = args.host.strip().removeprefix("[").removesuffix("]")
    names = {*_LOCAL, *(name for name in (host, *allowed_hosts) if name not in _EVERYWHERE and "*" not in name)}
    folder = database.parent / "tls"
    also = _own_names() if host in _EVERYWHERE else set()

    def make() -> LocalFiles:
        return local_certificate(folder, names, datetime.datetime.now(datetime.UTC), also=also)

    files = make()
    new = " (new: clients that trusted an earlier one have to be told)" if files.made else ""
    told = f"TLS: clients trust it by AWS_CA_BUNDLE={files.authority}, Node.js by NODE_EXTRA_CA_CERTS{new}"
    if files.without:
        told += (
            f"\nwarning: over TLS no client can call it {' or '.join(files.without)}: its authority was made without; "
            "--host NAME or general_settings.allowed_hosts makes one that is good for NAME"
        )
    return Tls(
        files=TlsFiles(files.certificate, files.key), renew=make, told=told, authority=files.authority.absolute()
    )


def _own_names() -> set[str]:
    """Return what other machines may call this one: its host name, and its addresses as far as they can be told."""
    name = socket.gethostname()
    found = set()
    with contextlib.suppress(OSError):
        found = {str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    # Many machines know their name by loopback alone. The address towards an address of documentation (RFC 5737, RFC
    # 3849) is that towards any other; nothing is sent.
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((outside, 9))
            found.add(str(sock.getsockname()[0]))
    # A link-local address with its scope stands in no certificate.
    names = {address for address in found if "%" not in address and not ipaddress.ip_address(address).is_loopback}
    return names | {name} if name and name.isascii() else names
