"""Where the ledger lies: database URLs and the default path. Knows paths only; environment and home are passed in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bedrock_gateway.errors import StartError

__all__ = ["default_database", "parse_database_url", "resolve_database"]


def parse_database_url(url: str) -> Path:
    """Return the path a database URL or a plain path names.

    ``sqlite:///relative.db`` is relative to the working directory, ``sqlite:////absolute.db`` is not, as everywhere
    else such URLs are used.

    Raises:
        StartError: the URL is of another database, names a host, has parameters, or names no file.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        if not url or "\0" in url:
            raise StartError("the database has no path: give sqlite:////path/to/ledger.db or a path")
        if url.startswith("sqlite:"):
            raise StartError(f"{url!r} is not a database URL: write sqlite:/// and then the path")
        return Path(url)
    if scheme.lower() in ("postgres", "postgresql"):
        raise StartError(
            "postgresql:// databases are not supported: the ledger is SQLite, give sqlite:////path/to/ledger.db"
        )
    if scheme.lower() not in ("sqlite", "sqlite3"):
        # The rest of such a URL may hold a password: only the scheme is shown.
        raise StartError(f"{scheme}:// is not a database this gateway knows: give sqlite:////path/to/ledger.db")
    parts = urlsplit(url)
    if parts.netloc:
        raise StartError(f"{scheme}://{parts.netloc}... names a host: write three slashes, sqlite:///{parts.netloc}...")
    if parts.query or parts.fragment:
        raise StartError(f"{scheme}:// URLs take no parameters here: give sqlite:////path/to/ledger.db")
    path = unquote(parts.path)[1:]
    if path in ("", ":memory:") or "\0" in path:
        raise StartError(
            f"{url!r} names no file: the ledger must outlive the process, give sqlite:////path/to/ledger.db"
        )
    return Path(path)


def default_database(environ: Mapping[str, str], home: Path, *, simulated: bool = False) -> Path:
    """Return the ledger's own place: under ``XDG_STATE_HOME`` if that is an absolute path, else ``~/.local/state``.

    A simulated ledger is another file, so that made-up spend never stands beside real spend.
    """
    state = environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification has relative paths ignored.
    base = Path(state) if state.startswith("/") else home / ".local" / "state"
    return base / "bedrock-gateway" / ("ledger-simulated.db" if simulated else "ledger.db")


def resolve_database(given: str | None, environ: Mapping[str, str], home: Path, *, simulated: bool = False) -> Path:
    """Return the ledger's path: what was given, else ``DATABASE_URL`` (not when simulated), else the default.

    Raises:
        StartError: as ``parse_database_url``.
    """
    url = given or ("" if simulated else environ.get("DATABASE_URL", ""))
    return parse_database_url(url) if url else default_database(environ, home, simulated=simulated)
