"""``bedrock-gateway key``: virtual keys made and changed on the database itself, the gateway running or not. A running
gateway follows within a second.

Knows the options; what is done is for ``key_actions``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from bedrock_gateway.cli import key_actions
from bedrock_gateway.cli.databases import add_database
from bedrock_gateway.cli.key_options import add_fields
from bedrock_gateway.store.listing import KEY_STATES

__all__ = ["add_parser"]

_KEY = "its alias, its id (key-...), its SHA-256, or the key itself"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "key",
        help="make, list, change, rotate, block and delete virtual keys",
        description="Virtual keys, with the gateway running or stopped; a running one follows within a second.",
    )
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    create = _action(actions, "create", key_actions.create, "make a key; it is printed once, alone on the output")
    add_fields(create, change=False)
    _add_json(create)

    listing = _action(actions, "list", key_actions.list_all, "list keys with what they have spent")
    listing.add_argument("--user", metavar="ID", help="only those of a user")
    listing.add_argument("--team", metavar="ID", help="only those of a team")
    listing.add_argument("--status", choices=KEY_STATES[:3], help="only those that are so")
    listing.add_argument("--search", metavar="TEXT", help="only those with this in their alias")
    _add_json(listing)

    show = _action(actions, "show", key_actions.show, "show all there is to know of a key", key=True)
    _add_json(show)

    update = _action(actions, "update", key_actions.update, "change what is given of a key", key=True)
    add_fields(update, change=True)
    _add_json(update)

    _action(actions, "block", key_actions.block, "keep a key out until it is unblocked", key=True)
    _action(actions, "unblock", key_actions.unblock, "let a blocked key in again", key=True)

    delete = _action(actions, "delete", key_actions.delete, "take keys away for good; all that are named, or none")
    delete.add_argument("keys", metavar="KEY", nargs="+", help=_KEY)

    rotate = _action(actions, "rotate", key_actions.rotate, "give a key a new secret, printed once", key=True)
    rotate.add_argument("--grace", metavar="TIME", help="how long the old one lives on: 24h (default: not at all)")
    _add_json(rotate)

    credentials = _action(
        actions,
        "credentials",
        key_actions.credentials,
        "an access key id and secret for a key, that any AWS SDK can sign with",
        key=True,
    )
    credentials.add_argument("--duration", metavar="TIME", help="how long they live: 1h (default: as long as the key)")
    credentials.add_argument(
        "--json", action="store_true", help="JSON as AWS's credential_process wants it, for ~/.aws/config"
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    what: str,
    *,
    key: bool = False,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    if key:
        parser.add_argument("key", metavar="KEY", help=_KEY)
    add_database(parser)
    parser.set_defaults(run=run)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON, as the API answers it")
