"""``serve --tls``: the certificate, given or made, and what is said of it."""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from bedrock_gateway.downstream.tls import TlsFiles
from bedrock_gateway.errors import StartError

__all__ = ["Tls", "add_options", "open_tls"]

#: Makes certificates of our own; imported only where one is wanted.
_CERTIFICATES = "bedrock_gateway.downstream.certificates"
#: Names this machine has for itself.
_LOCAL = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")


@attrs.frozen(kw_only=True)
class Tls:
    """TLS for the listener.

    Attributes:
        files: with the context.
        renew: renews a certificate of our own where that is due; runs in a thread.
        told: line for who starts the gateway, "" for none.
    """

    files: TlsFiles
    renew: Callable[[], object] = lambda: None
    told: str = ""


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
        database: a resolved path; certificates of our own lie beside it.

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
    try:
        certificates: Any = importlib.import_module(_CERTIFICATES)
    except ImportError as error:
        raise StartError(
            f"--tls without --tls-cert needs cryptography ({error}): pip install 'bedrock_gateway[tls]'"
        ) from error
    host = args.host.strip().removeprefix("[").removesuffix("]")
    names = {*_LOCAL, *(name for name in (host, *allowed_hosts) if name not in _EVERYWHERE and "*" not in name)}
    folder = database.parent / "tls"

    make = functools.partial(_local, certificates, folder, names)
    files = make()
    new = " (new: clients that trusted an earlier one have to be told)" if files.made else ""
    told = f"TLS: clients trust it by AWS_CA_BUNDLE={files.authority}, Node.js by NODE_EXTRA_CA_CERTS{new}"
    return Tls(files=TlsFiles(files.certificate, files.key), renew=make, told=told)


def _local(certificates: Any, folder: Path, names: set[str]) -> Any:
    return certificates.local_certificate(folder, names, datetime.datetime.now(datetime.UTC))
