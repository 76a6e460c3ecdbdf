"""The gateway's own certificate authority: made once, good for this machine alone, renewed by itself."""

from __future__ import annotations

import datetime
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from bedrock_gateway.downstream.certificates import LocalFiles, local_certificate
from bedrock_gateway.errors import StartError

NOW = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
NAMES = ("localhost", "127.0.0.1", "::1")


def days(count: float) -> datetime.timedelta:
    """Return so many days."""
    return datetime.timedelta(days=count)


def test_made_once(tmp_path: Path) -> None:
    """The second start finds what the first one made, and changes nothing."""
    first = local_certificate(tmp_path / "tls", NAMES, NOW)
    before = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    second = local_certificate(tmp_path / "tls", ["[::1]", "LOCALHOST", "127.0.0.1"], NOW + days(1))
    assert (True, False) == (first.made, second.made)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Folder and files are their owner's alone."""
    local_certificate(tmp_path / "tls", NAMES, NOW)
    assert 0o700 == stat.S_IMODE((tmp_path / "tls").stat().st_mode)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()}


def test_processes_that_start_at_once_make_one_authority(tmp_path: Path) -> None:
    """However many look for it at the same time, one makes it and all have the same."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: local_certificate(tmp_path / "tls", NAMES, NOW), range(8)))
    assert 1 == sum(files.made for files in made)
    certificate = x509.load_pem_x509_certificate(made[0].certificate.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(made[0].authority.read_bytes()))


@pytest.mark.parametrize(
    ("later", "names", "authority_stays", "certificate_stays"),
    [
        (366, NAMES, True, True),
        (368, NAMES, True, False),
        (1, NAMES[:2], True, False),
        (1, (*NAMES, "gateway.example"), False, False),
        (1, (*NAMES, "10.0.0.7"), False, False),
        (3650 - 428, NAMES, True, False),
        (3650 - 426, NAMES, False, False),
    ],
)
def test_renewed(
    tmp_path: Path, later: float, names: tuple[str, ...], authority_stays: bool, certificate_stays: bool
) -> None:
    """A certificate is renewed a month before its end and for other names; the authority only where it may not sign."""
    files = local_certificate(tmp_path, NAMES, NOW)
    authority, certificate = files.authority.read_bytes(), files.certificate.read_bytes()
    again = local_certificate(tmp_path, names, NOW + days(later))
    assert authority_stays == (authority == again.authority.read_bytes())
    assert authority_stays != again.made
    assert certificate_stays == (certificate == again.certificate.read_bytes())


def names_of(files: LocalFiles) -> set[str]:
    """Return the names a certificate is good for."""
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in told}


def test_names_that_change_by_themselves(tmp_path: Path) -> None:
    """A new authority may sign for further names; one that is there is not made anew for them, and they are told."""
    also = ("vm.example", "10.0.0.7")
    first = local_certificate(tmp_path / "new", NAMES, NOW, also=also)
    assert ({*NAMES, *also}, ()) == (names_of(first), first.without)

    moved = local_certificate(tmp_path / "new", NAMES, NOW, also=("vm.example", "10.0.0.8"))
    assert (False, {*NAMES, "vm.example"}, ("10.0.0.8",)) == (moved.made, names_of(moved), moved.without)

    local_certificate(tmp_path / "old", NAMES, NOW)
    older = local_certificate(tmp_path / "old", NAMES, NOW, also=also)
    assert (False, {*NAMES}, ("10.0.0.7", "vm.example")) == (older.made, names_of(older), older.without)

    named = local_certificate(tmp_path / "old", (*NAMES, "10.0.0.7"), NOW, also=also)
    assert (True, {*NAMES, *also}, ()) == (named.made, names_of(named), named.without)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    """The authority signs for these names alone and no other authority; the certificate lasts a year and a month."""
    files = local_certificate(tmp_path, NAMES, NOW)
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    told = {str(name.value) for name in constraints.value.permitted_subtrees or ()}
    assert {"localhost", "127.0.0.1/32", "::1/128"} == told
    assert 0 == authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == days(397)
    assert authority.subject == certificate.issuer


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
def test_an_authority_that_is_none(tmp_path: Path, name: str) -> None:
    """Broken files are named, and not written over: somebody may trust what was in them."""
    local_certificate(tmp_path, NAMES, NOW)
    (tmp_path / name).write_text("broken")
    with pytest.raises(StartError, match="remove the folder for a new one"):
        local_certificate(tmp_path, NAMES, NOW)
    assert "broken" == (tmp_path / name).read_text()


def test_an_authority_with_another_key(tmp_path: Path) -> None:
    """A key that does not belong to the authority is not signed with."""
    local_certificate(tmp_path / "a", NAMES, NOW)
    local_certificate(tmp_path / "b", NAMES, NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(StartError, match="the key does not belong"):
        local_certificate(tmp_path / "a", NAMES, NOW)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_a_broken_certificate_is_made_again(tmp_path: Path, name: str) -> None:
    """What nobody trusts by itself is simply made new."""
    files = local_certificate(tmp_path, NAMES, NOW)
    (tmp_path / name).write_text("broken")
    again = local_certificate(tmp_path, NAMES, NOW)
    assert not again.made
    x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in its place is said to be one."""
    (tmp_path / "tls").write_text("")
    with pytest.raises(StartError, match="cannot be kept there"):
        local_certificate(tmp_path / "tls", NAMES, NOW)
