"""Where the root secret lies, and which secrets are refused."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.root_secret import LEAST, MOST, read_root_secret, root_secret_of

SECRET = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The path of a database that need not be there."""
    return tmp_path / "state" / "ledger.db"


def written(path: Path, content: bytes | str, mode: int = 0o600) -> Path:
    """Write a file of a mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def told(environ: dict[str, str], database: Path, *, create: bool = False) -> str:
    """Return what is said of a secret that is refused."""
    with pytest.raises(StartError) as caught:
        read_root_secret(environ, database, create=create)
    return str(caught.value)


def test_there_may_be_none(database: Path) -> None:
    """Without a secret anywhere there is none, and none is made unasked."""
    assert read_root_secret({}, database, create=False) is None
    assert not database.parent.exists()


def test_one_is_made_when_asked_for(database: Path) -> None:
    """The secret made is 256 random bits in a file of its owner's alone beside the database, and stays the same."""
    made = read_root_secret({}, database, create=True)
    path = root_secret_of(database)

    assert made is not None
    assert re.fullmatch(b"[0-9a-f]{64}", made)
    assert made + b"\n" == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert ["ledger.db.secret"] == os.listdir(database.parent)
    assert 0o700 == stat.S_IMODE(database.parent.stat().st_mode)
    assert [made, made] == [read_root_secret({}, database, create=create) for create in (True, False)]


def test_each_is_another(tmp_path: Path) -> None:
    """Two databases have two secrets."""
    secrets = {read_root_secret({}, tmp_path / name, create=True) for name in ("a.db", "b.db")}

    assert 2 == len(secrets)


def test_processes_that_make_one_at_once_have_the_same(database: Path) -> None:
    """Of many that make a secret at the same time one does, and all read that one."""
    code = (
        "import sys; from pathlib import Path; from bedrock_gateway.store.root_secret import read_root_secret\n"
        "sys.stdin.read()\nprint(read_root_secret({}, Path(sys.argv[1]), create=True).decode())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    made = []
    for child in children:
        assert child.stdout is not None
        with child, child.stdout as output:
            made.append(output.read().strip())

    assert [root_secret_of(database).read_text().strip()] * 4 == made
    assert ["ledger.db.secret"] == os.listdir(database.parent)


def test_the_order_of_places(database: Path, tmp_path: Path) -> None:
    """The environment comes before systemd's credential, that before the file; an empty variable counts as unset."""
    written(root_secret_of(database), f"{SECRET}\n")
    directory = written(tmp_path / "credentials" / "bedrock-gateway-secret", "a credential of systemd's, long enough\n")
    credentials = {"CREDENTIALS_DIRECTORY": str(directory.parent)}
    variable = {"BEDROCK_GATEWAY_SECRET": " the variable, which is long enough \n"}

    assert b"the variable, which is long enough" == read_root_secret(variable | credentials, database, create=True)
    assert b"a credential of systemd's, long enough" == read_root_secret(
        credentials | {"BEDROCK_GATEWAY_SECRET": " "}, database, create=True
    )
    assert SECRET.encode() == read_root_secret({"CREDENTIALS_DIRECTORY": str(tmp_path)}, database, create=True)


def test_a_secret_can_move(database: Path, tmp_path: Path) -> None:
    """The text of a made secret is the same secret in every place."""
    made = read_root_secret({}, database, create=True)
    assert made is not None
    given = written(tmp_path / "bedrock-gateway-secret", root_secret_of(database).read_bytes(), 0o444)

    assert made == read_root_secret({"BEDROCK_GATEWAY_SECRET": made.decode()}, database, create=False)
    assert made == read_root_secret({"CREDENTIALS_DIRECTORY": str(given.parent)}, database, create=False)


@pytest.mark.parametrize("length", [1, LEAST - 1])
def test_short_secrets_are_refused(database: Path, tmp_path: Path, length: int) -> None:
    """A secret that could be guessed is refused with its length, and is not shown."""
    short = SECRET[:length]
    given = written(tmp_path / "bedrock-gateway-secret", short)
    found = [
        told({"BEDROCK_GATEWAY_SECRET": short}, database, create=True),
        told({"CREDENTIALS_DIRECTORY": str(tmp_path)}, database, create=True),
    ]

    assert [f"BEDROCK_GATEWAY_SECRET: a secret has at least 32 characters, this one has {length}"] == [
        found[0].partition(";")[0]
    ]
    assert found[1].startswith(f"{given}: a secret has at least 32 characters, this one has {length}")
    assert not root_secret_of(database).exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_files_open_to_others_are_refused(database: Path, mode: int) -> None:
    """A file that others can do anything with is refused with the command that mends it."""
    path = written(root_secret_of(database), f"{SECRET}\n", mode)
    found = told({}, database, create=True)

    assert found == f"{path}: the secret is open to others (mode {mode:04o}); close it with: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("end", ["", "\n"])
def test_files_of_the_owner_alone_are_read(database: Path, mode: int, end: str) -> None:
    """A file need not be writable, and need not end in a line end."""
    written(root_secret_of(database), SECRET + end, mode)

    assert SECRET.encode() == read_root_secret({}, database, create=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        SECRET[:-1].encode(),
        SECRET.upper().encode(),
        f"{SECRET}\n\n".encode(),
        f"{SECRET}\n{SECRET}\n".encode(),
        f" {SECRET}\n".encode(),
        f"{SECRET}\r\n".encode(),
        b"\xff" * 64,
        b"the operator's own idea of a secret, which is no hex",
    ],
)
def test_odd_files_are_refused(database: Path, content: bytes) -> None:
    """A file that holds anything else is neither taken for a secret nor written over."""
    path = written(root_secret_of(database), content)
    found = told({}, database, create=True)

    assert found.startswith(f"{path}: is no secret of the gateway's")
    assert SECRET[:8] not in found
    assert content == path.read_bytes()


def test_large_files_are_refused(database: Path, tmp_path: Path) -> None:
    """A large file is some other file."""
    written(root_secret_of(database), b"a" * (MOST + 1))
    written(tmp_path / "bedrock-gateway-secret", b"a" * (MOST + 1))
    found = [told({}, database), told({"CREDENTIALS_DIRECTORY": str(tmp_path)}, database)]

    assert [True, True] == ["is too large for a secret" in one for one in found]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_is_refused(database: Path, tmp_path: Path, kind: str) -> None:
    """Directories, links and pipes are refused at once, without waiting for anybody to write."""
    path = root_secret_of(database)
    path.parent.mkdir()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.symlink_to(written(tmp_path / "elsewhere", SECRET))
    found = told({}, database, create=True)

    assert found.startswith(f"{path}: ")


def test_links_of_credentials_are_followed(database: Path, tmp_path: Path) -> None:
    """A credentials directory may be made of links, as some orchestrators make theirs."""
    target = written(tmp_path / "elsewhere", OTHER, 0o440)
    (tmp_path / "bedrock-gateway-secret").symlink_to(target)

    assert OTHER.encode() == read_root_secret({"CREDENTIALS_DIRECTORY": str(tmp_path)}, database, create=False)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Where no file can be made the reason is told with the path, and nothing is left behind."""
    (tmp_path / "file").write_text("")
    database = tmp_path / "file" / "ledger.db"
    found = told({}, database, create=True)

    assert found.startswith(f"{database}.secret: the secret cannot be ")
    assert ["file"] == os.listdir(tmp_path)


def test_bytes_of_the_environment_are_kept(database: Path) -> None:
    """A variable that is no UTF-8 is the bytes it was set to."""
    found = read_root_secret({"BEDROCK_GATEWAY_SECRET": "\udcff" * 32}, database, create=False)

    assert b"\xff" * 32 == found
