"""``bedrock-gateway serve``: read the config, bind, open the ledger, serve until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import os
import resource
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import attrs
from yarl import URL

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.authentication import Callers
from bedrock_gateway.app import serving
from bedrock_gateway.chain.call_log import CallLog
from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.cli.preconditions import doubts, obstacles
from bedrock_gateway.cli.tls import Tls, add_options, open_tls
from bedrock_gateway.config.settings import Config, master_key_weakness
from bedrock_gateway.downstream.sockets import bind, is_loopback
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.location import resolve_database
from bedrock_gateway.store.root_secret import read_root_secret

__all__ = ["add_parser"]

_LOG = logging.getLogger("bedrock_gateway.serve")

#: Where the gateway listens unless told otherwise: this machine only.
HOST, PORT = "127.0.0.1", 4000
#: What is tried first in front of the simulator, unless the config names something.
SIMULATED_MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
#: Printed in front of the simulator: a call by curl, one by boto3, and what they cost; each is one line to paste.
_TO_PASTE = """\
simulating: nothing leaves this machine and nothing is billed. Paste these, one after the other{known}:
"""
_CURL = """\
curl -s {curl}/bedrock/model/{model}/converse -H "Authorization: Bearer {key}" \
-d '{{"messages":[{{"role":"user","content":[{{"text":"Hello"}}]}}]}}'
"""
#: boto3 knows no unix sockets.
_BOTO3 = """\
{python} -c 'import boto3, sys; client = boto3.client("bedrock-runtime", endpoint_url="{base}/bedrock"{verify}, \
region_name="us-east-1", aws_access_key_id=sys.argv[1], aws_secret_access_key="-"); \
[print(event["contentBlockDelta"]["delta"]["text"], end="", flush=True) for event in \
client.converse_stream(modelId="{model}", messages=[{{"role": "user", "content": [{{"text": "Hello"}}]}}])["stream"] \
if "contentBlockDelta" in event]' "{key}"{bundle}
"""
_SPEND = """\
{command} spend --database {database}
"""
#: Region of what no config gives one, in front of the simulator.
SIMULATED_REGION = "us-east-1"
#: The variable that lines to paste take the master key from, so that it is never printed.
_KEY = "LITELLM_MASTER_KEY"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "serve",
        help="serve (the default command)",
        description="Serve AWS Bedrock's API at http://HOST:PORT/bedrock.",
        epilog="Without --config every Bedrock model id passes through with your own AWS credentials.",
    )
    parser.add_argument("--config", metavar="FILE", help="config.yaml in LiteLLM's format")
    parser.add_argument("--host", default=HOST, help=f"address to listen on (default {HOST})")
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"port to listen on, 0 for any free one (default {PORT})"
    )
    parser.add_argument("--unix-socket", metavar="PATH", type=Path, help="listen on a unix socket instead")
    parser.add_argument("--database", metavar="URL", help="ledger, sqlite:////path/to/ledger.db or a path")
    add_options(parser)
    parser.add_argument(
        "--simulate", action="store_true", help="answer from an embedded simulator; no AWS account needed"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve; return the exit status.

    Raises:
        StartError: it cannot start; the text is the whole message.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    environ = dict(os.environ)
    if args.simulate:
        # Set and empty means not set, here as elsewhere.
        environ["AWS_REGION"] = environ.get("AWS_REGION") or SIMULATED_REGION
        if args.config is None:
            environ.pop("DATABASE_URL", None)
    config = read_config(args.config, environ)
    _check_master_key(config, args.host, unix=args.unix_socket is not None)
    if not args.simulate:
        for obstacle in obstacles(config, os.environ):
            raise StartError(obstacle)
    for doubt in doubts(config, {} if args.simulate else os.environ):
        _LOG.warning("%s", doubt)
    # The database is touched by nobody who does not have the port.
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(sock) for sock in bind(args.host, args.port, args.unix_socket)]
        # Made-up spend never goes where real spend is kept, unless somebody says so here.
        given = args.database or (None if args.simulate else config.general.database_url)
        # What is printed of it can be pasted anywhere.
        database = resolve_database(given, os.environ, Path.home(), simulated=args.simulate).absolute()
        tls = open_tls(args, tuple(config.general.allowed_hosts), database)
        _raise_descriptor_limit()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, sockets, database, tls, simulate=args.simulate))
    return 0


async def _serve(
    config: Config, sockets: list[socket.socket], database: Path, tls: Tls | None, *, simulate: bool
) -> None:
    log = CallLog(sys.stderr)
    async with contextlib.AsyncExitStack() as stack:
        simulator = None
        if simulate:
            # The simulator brings botocore's signer along: only who wants it pays for it.
            from bedrock_gateway.cli.simulated import demo, simulated

            simulator = await stack.enter_async_context(demo())
            config = simulated(config)
        await _check_endpoints(config, {sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX})
        stack.callback(log.flush)
        signals = _Signals()
        async with serving(
            config,
            sockets,
            database=database,
            log=log,
            instance=secrets.token_hex(8),
            pid=os.getpid(),
            simulator=simulator,
            root_secret=functools.partial(_root_secret, os.environ),
            tls=None if tls is None else tls.files.context,
        ) as gateway:
            # What start made lives for ever: the collector need not look at it again (a third of the tail latency).
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 20)
            if tls is not None:
                renewing = asyncio.create_task(tls.files.keep(tls.renew), name="keep the TLS certificate")
                stack.callback(renewing.cancel)
            print(_greeting(config, sockets, database, gateway.callers, tls, simulate=simulate), flush=True)
            await signals.first.wait()
            signals.when_again(functools.partial(_hurry, gateway))
            if gateway.calls:
                print(_stopping(len(gateway.calls), config.general.limits.shutdown_timeout), flush=True)


def _root_secret(environ: Mapping[str, str], database: Path) -> bytes | None:
    """Return the root secret of a database, made beside it where there is none."""
    return read_root_secret(environ, database, create=True)


def _stopping(calls: int, seconds: float) -> str:
    """Return what is printed on the first signal when calls are under way."""
    number, them = ("1 call under way is", "it") if calls == 1 else (f"{calls} calls under way are", "them")
    return f"stopping: {number} waited for, at most {seconds:g} s; Ctrl-C again ends {them} now"


def _hurry(gateway: Gateway) -> None:
    gateway.hurried = True
    gateway.idle.set()


@attrs.define(eq=False)
class _Signals:
    """SIGTERM and Ctrl-C: the first one stops, a further one stops at once."""

    first: asyncio.Event = attrs.field(factory=asyncio.Event)
    _again: bool = attrs.field(default=False, init=False)
    _then: Callable[[], None] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received)

    def when_again(self, then: Callable[[], None]) -> None:
        """Call ``then`` when a further signal comes; at once where it came already."""
        self._then = then
        if self._again:
            then()

    def _received(self) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self._again = True
        if self._then is not None:
            self._then()


def _check_master_key(config: Config, host: str, *, unix: bool) -> None:
    """Refuse what would let strangers in: an open or weakly locked gateway on a routable address."""
    key = config.general.master_key
    local = unix or is_loopback(host)
    if key is None:
        if not local:
            raise StartError(
                f"{host} can be reached from other machines, and without a master key any key is accepted. Set "
                "LITELLM_MASTER_KEY (or general_settings.master_key) to sk- and at least 20 characters, or listen on "
                "127.0.0.1."
            )
        return
    weakness = master_key_weakness(key)
    if weakness is not None and not local:
        raise StartError(f"The master key is too weak to listen on {host}: {weakness}.")


async def _check_endpoints(config: Config, own: set[tuple[str, int]]) -> None:
    """Refuse an endpoint that is this gateway itself: calls would go round for ever.

    Args:
        own: addresses listened on.
    """
    loop = asyncio.get_running_loop()
    ours = (*config.deployments, *(deployment for _, deployment in config.ambient))
    for deployment, url in ((one, url) for one in ours for url in one.endpoints.values()):
        endpoint = URL(url)
        if endpoint.host is None or endpoint.port not in {port for _, port in own}:
            continue
        try:
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except OSError:
            continue  # the first call will say so; a name that cannot be looked up is not ours
        reached = {str(info[4][0]) for info in found}
        everywhere = any(is_loopback(address) for address in reached)
        if any(address in reached or (everywhere and address in ("0.0.0.0", "::")) for address, _ in own):
            name = deployment.name or "ambient"
            raise StartError(f"The endpoint of deployment {name!r} ({url}) is this gateway itself.")


def _greeting(
    config: Config,
    sockets: list[socket.socket],
    database: Path,
    callers: Callers,
    tls: Tls | None,
    *,
    simulate: bool,
) -> str:
    """Return what is printed once calls are taken."""
    first = sockets[0]
    bundle = ""
    if first.family == socket.AF_UNIX:
        path = first.getsockname()
        url, curl = f"unix:{path}", f"--unix-socket {shlex.quote(path)} http://localhost"
        base = url
    else:
        host, port = first.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        url = f"{'http' if tls is None else 'https'}://{shown}:{port}"
        base = curl = url
        if tls is not None and tls.authority is not None:
            bundle = f" {shlex.quote(str(tls.authority))}"
            curl = f"--cacert{bundle} {url}"
        elif is_loopback(host):
            # What is printed to be pasted works at once: on this machine plain HTTP is taken beside TLS, and whom the
            # given certificate names is not known.
            base = curl = f"http://{shown}:{port}"
    mode = "open: any key is accepted, from this machine only"
    if not callers.open:
        ways = ["the master key"] if callers.master is not None else []
        ways += ["a virtual key"] if callers.directory.key_count else []
        mode = f"locked: callers need {' or '.join(ways)}"
    lines = [f"bedrock-gateway {VERSION} listens at {url}/bedrock ({mode})"]
    if first.family != socket.AF_UNIX:
        # Their clients take no path of a socket for a base URL.
        lines.append(f"OpenAI's base URL is {url}/v1, Anthropic's is {url}")
    lines.append(f"ledger {database}")
    lines += [tls.told] if tls is not None and tls.told else []
    lines += [f"warning: {warning}" for warning in config.warnings]
    if simulate:
        key = config.general.master_key
        names = config.routing_table().names()
        values = {
            "known": "" if key in (None, os.environ.get(_KEY)) else f" (with {_KEY} set to the master key)",
            "curl": curl,
            "base": base,
            "verify": ", verify=sys.argv[2]" if bundle else "",
            "bundle": bundle,
            "model": quote(names[0] if names else SIMULATED_MODEL, safe=":"),
            "key": f"${_KEY}" if key else "any-key" if callers.open else "a-virtual-key",
            "python": shlex.quote(sys.executable),
            "command": _command(),
            "database": shlex.quote(str(database)),
        }
        paste = [_TO_PASTE, _CURL, _SPEND] if first.family == socket.AF_UNIX else [_TO_PASTE, _CURL, _BOTO3, _SPEND]
        lines += [line.format_map(values) for line in paste]
    return "\n".join(lines)


def _command() -> str:
    """Return how this command was called, so that what is printed can be pasted."""
    program = Path(sys.argv[0])
    python = shlex.quote(sys.executable)
    return f"{python} -m bedrock_gateway" if program.name == "__main__.py" else shlex.quote(str(program))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed, unless ``BEDROCK_GATEWAY_LOOP=asyncio``.

    Raises:
        StartError: the variable asks for what is not there.
    """
    wanted = os.environ.get("BEDROCK_GATEWAY_LOOP", "")
    if wanted not in ("", "asyncio", "uvloop"):
        raise StartError(f"BEDROCK_GATEWAY_LOOP={wanted}: it is asyncio or uvloop")
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as error:
        if wanted == "uvloop":
            raise StartError("BEDROCK_GATEWAY_LOOP=uvloop, but uvloop is not installed: pip install uvloop") from error
        return None
    return uvloop.new_event_loop


def _raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: every open stream takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
