"""Groups of deployments that are asked through InvokeModel, and what the ledger says of their attempts."""

from __future__ import annotations

import json

import openai
from running import CREDENTIALS, Running

__all__ = ["entry", "sdk", "sent"]


def entry(group: str, model: str, more: str = "", letter: str = "A") -> str:
    """Return an entry of a model_list."""
    key = f"AKIDEPLOYMENT{letter}"
    return (
        f"  - model_name: {group}\n    litellm_params: {{model: {model}, aws_region_name: us-east-1, {more}\n"
        f"      aws_access_key_id: {key}, aws_secret_access_key: {CREDENTIALS[key][0]},\n"
        '      aws_bedrock_runtime_endpoint: "%(url)s"}\n'
    )


def sdk(here: Running) -> openai.OpenAI:
    """Return a client that does not repeat calls."""
    return here.closing(openai.OpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=0))


def sent(here: Running) -> list[tuple[str, str]]:
    """Return the state of each attempt, with the operation it was sent as where that is not the call's."""
    found = []
    for row in here.rows("SELECT state, notes FROM attempts"):
        notes = [note for note in json.loads(row["notes"] or "[]") if note.startswith("sent as ")]
        found.append((row["state"], "".join(notes).removeprefix("sent as ")))
    return sorted(found)
