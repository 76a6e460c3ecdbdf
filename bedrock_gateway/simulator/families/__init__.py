"""The families of InvokeModel, by the names ``models.family_of`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bedrock_gateway.simulator.families.anthropic import ANTHROPIC
from bedrock_gateway.simulator.families.chat import CHAT
from bedrock_gateway.simulator.families.command_r import COHERE_CHAT
from bedrock_gateway.simulator.families.nova import NOVA
from bedrock_gateway.simulator.families.pictures import CANVAS, STABILITY
from bedrock_gateway.simulator.families.prompt import COHERE_PROMPT, DEEPSEEK, LLAMA, MISTRAL, TITAN
from bedrock_gateway.simulator.families.shapes import PlainFamily, TextFamily
from bedrock_gateway.simulator.families.vectors import COHERE_EMBED, NOVA_EMBED, RERANK, TITAN_EMBED

__all__ = ["FAMILIES", "PlainFamily", "TextFamily"]

FAMILIES: Mapping[str, TextFamily | PlainFamily] = MappingProxyType(
    {
        "anthropic": ANTHROPIC,
        "canvas": CANVAS,
        "chat": CHAT,
        "cohere-chat": COHERE_CHAT,
        "cohere-embed": COHERE_EMBED,
        "cohere-prompt": COHERE_PROMPT,
        "deepseek-prompt": DEEPSEEK,
        "llama": LLAMA,
        "mistral-prompt": MISTRAL,
        "nova": NOVA,
        "nova-embed": NOVA_EMBED,
        "rerank": RERANK,
        "stability": STABILITY,
        "titan": TITAN,
        "titan-embed": TITAN_EMBED,
    }
)
