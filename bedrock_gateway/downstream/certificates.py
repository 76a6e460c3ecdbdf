"""The gateway's own certificate, for TLS on one machine: a certificate authority that is good for nothing else, and
what it signs.

The authority is made on first use and stays, so that clients are told of it once; it may only sign for the names it was
made for. The certificate is short-lived and renewed by itself. Knows files and X.509; knows no socket.

Source: RFC 5280 sections 4.2.1 (key usage, basic constraints, names, name constraints) and 4.1.2.5 (validity);
CA/Browser Forum, baseline requirements 6.3.2 (398 days at most). Python 3.13 verifies strictly: key identifiers have to
be there.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bedrock_gateway.errors import StartError

__all__ = ["LocalFiles", "local_certificate"]

CA_DAYS, DAYS, RENEW_DAYS = 3650, 397, 30
#: Clocks of one machine do not differ, those of two may.
_BEFORE = datetime.timedelta(hours=1)
_Names: TypeAlias = "tuple[str, ...]"


@attrs.frozen(kw_only=True)
class LocalFiles:
    """Where they are.

    Attributes:
        authority: certificate that clients have to trust, in PEM; certificate, key: what the listener takes.
        made: the authority is new, so that nobody trusts it yet.
        without: what the certificate would be good for too, had the authority been made for it.
    """

    authority: Path
    certificate: Path
    key: Path
    made: bool = False
    without: tuple[str, ...] = ()


def local_certificate(
    folder: Path, names: Iterable[str], now: datetime.datetime, *, also: Iterable[str] = ()
) -> LocalFiles:
    """See to it that there is a certificate for these names (hosts and addresses) that is good for a while.

    Args:
        also: further names, where a new authority is made or the one there is may sign for them: names that change by
            themselves must not have clients be told of a new one each time.

    Raises:
        StartError: the folder cannot be used, or what is in it.
    """
    wanted = tuple(sorted({_one_spelling(name) for name in names}))
    wished = tuple(sorted({_one_spelling(name) for name in also} - {*wanted}))
    files = LocalFiles(authority=folder / "ca.pem", certificate=folder / "server.pem", key=folder / "server.key")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            authority = _read_authority(folder, wanted, now)
            made = authority is None
            certificate, key = authority or _make_authority(folder, (*wanted, *wished), now)
            permitted = _permitted(certificate)
            without = tuple(name for name in wished if not _permits(permitted, name))
            wanted = (*wanted, *(name for name in wished if name not in without))
            if made or not _is_good(files, wanted, now, certificate):
                _make_certificate(files, wanted, now, certificate, key)
    except OSError as error:
        raise StartError(f"{folder}: the certificates of --tls cannot be kept there: {error.strerror}") from error
    return attrs.evolve(files, made=made, without=without)


def _one_spelling(name: str) -> str:
    name = name.strip().removeprefix("[").removesuffix("]").lower()
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(name))
    return name


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out: two that start at once make one authority."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_authority(
    folder: Path, names: _Names, now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """Return the authority, or None where a new one is needed: there is none, it ends soon, or it may not sign for one
    of the names.

    Raises:
        StartError: what is there is no authority of ours.
    """
    try:
        pem, key_pem = (folder / "ca.pem").read_bytes(), (folder / "ca.key").read_bytes()
    except FileNotFoundError:
        return None
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(key_pem, None)
        permitted = _permitted(certificate)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the key does not belong to the certificate")
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise StartError(
            f"{folder}: ca.pem and ca.key are no certificate authority of the gateway's ({error}); remove the folder "
            "for a new one"
        ) from error
    ends_soon = certificate.not_valid_after_utc - now < datetime.timedelta(days=DAYS + RENEW_DAYS)
    return None if ends_soon or not all(_permits(permitted, name) for name in names) else (certificate, key)


def _permitted(authority: x509.Certificate) -> list[x509.GeneralName]:
    return authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []


def _permits(permitted: Iterable[x509.GeneralName], name: str) -> bool:
    general = _general(name)
    for one in permitted:
        if isinstance(general, x509.IPAddress) and isinstance(one, x509.IPAddress):
            network = one.value
            if isinstance(network, (ipaddress.IPv4Network, ipaddress.IPv6Network)) and general.value in network:
                return True
        elif isinstance(general, x509.DNSName) and isinstance(one, x509.DNSName) and one.value == general.value:
            return True
    return False


def _general(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _constraint(name: str) -> x509.GeneralName:
    general = _general(name)
    return x509.IPAddress(ipaddress.ip_network(general.value)) if isinstance(general, x509.IPAddress) else general


def _make_authority(
    folder: Path, names: _Names, now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: a client that trusts an older one of the same name would look for the wrong key.
    subject = _named(f"bedrock-gateway local CA {secrets.token_hex(4)}")
    certificate = (
        _begun(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(
            x509.NameConstraints(permitted_subtrees=[_constraint(name) for name in names], excluded_subtrees=None),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    _write(folder / "ca.key", _private(key))
    _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _is_good(files: LocalFiles, names: _Names, now: datetime.datetime, authority: x509.Certificate) -> bool:
    """Tell whether the certificate that is there may stay."""
    try:
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        found.verify_directly_issued_by(authority)
        told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with it, a new one is right
        return False
    return (
        key.public_key() == found.public_key()
        and set(told) == {_general(name) for name in names}
        and found.not_valid_before_utc <= now
        and found.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
    )


def _make_certificate(
    files: LocalFiles,
    names: _Names,
    now: datetime.datetime,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _begun(_named("bedrock-gateway"), authority.subject, key, now, DAYS)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # The key first: a listener that looks in between finds a pair that does not fit, and keeps what it has.
    _write(files.key, _private(key))
    _write(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now - _BEFORE + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    making = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(making, path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
