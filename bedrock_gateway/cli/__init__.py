"""The command line: one file a command. ``serve`` is the default command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from bedrock_gateway._version import VERSION
from bedrock_gateway.errors import StartError

__all__ = ["main"]

#: Each command and its file, in the order of the help.
_COMMANDS = {
    "serve": "serve",
    "check": "check",
    "doctor": "doctor",
    "key": "key",
    "spend": "spend",
    "import": "importing",
    "simulate": "simulate",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 fine, 1 a fault at run time, 2 wrong usage, config or
    surroundings.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="bedrock-gateway",
        description="A lean streaming gateway for AWS Bedrock. Without a command it serves.",
        epilog="Each command explains itself: bedrock-gateway serve --help",
    )
    parser.add_argument("--version", action="version", version=f"bedrock-gateway {VERSION}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    # Serving is the default: options without a command are those of serve.
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "serve")
    # A gateway that runs for months does not carry the other commands with it.
    named = [arguments[0]] if arguments[0] in _COMMANDS else list(_COMMANDS)
    for command in named:
        importlib.import_module(f"{__name__}.{_COMMANDS[command]}").add_parser(subparsers)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except StartError as error:
        for line in str(error).splitlines():
            print(f"bedrock-gateway: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; what Python would still flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
