"""Blocks of Converse, as every dialect makes them from what callers write, and how Converse wants a conversation.

Knows Converse's content blocks. Must not know dialects.

Source: bedrock-runtime service-2.json (``Message``, ``ContentBlock``, ``SystemContentBlock``); RFC 2397 (data URLs);
LiteLLM 1.109 for ``cache_control`` of parts and tools.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from bedrock_gateway.dialects.fields import Block, mapping, one_of, text, wrong

__all__ = [
    *(
        "cache_point",
        "contents",
        "document",
        "encoded",
        "image",
        "in_turn",
        "is_base64",
        "only_text",
        "said",
        "tell_apart",
    ),
    *("tool_name", "tool_result", "tool_use", "tool_use_id", "tools_used", "worded"),
]

_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*);base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
#: What Converse takes in the name of a document.
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9 ()\[\]-]+")
#: How Converse wants the ids of calls of tools, and the names of tools.
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _finite(told: str) -> float:
    """Read a number; ``NaN`` and what is too large for one are none of JSON's."""
    if not math.isfinite(found := float(told)):
        raise ValueError(told)
    return found


_arguments = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def in_turn(spoken: Iterable[tuple[str, list[Block]]]) -> tuple[list[Block], list[Block]]:
    """Return ``(messages, system)`` of Converse for blocks by who says them: user, assistant or system.

    Neighbours of one role become one message, as Converse wants them in turn.
    """
    turns: list[Block] = []
    system: list[Block] = []
    for speaker, blocks in spoken:
        if speaker == "system":
            system += blocks
        elif blocks and turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})
    tell_apart(turns)
    return turns, system


def cache_point(holder: object, path: str) -> list[Block]:
    """Return the cache point after something that has ``cache_control``, in a list; or none."""
    control = holder.get("cache_control") if isinstance(holder, dict) else None
    if control is None:
        return []
    point = {"type": "default"}
    if (ttl := mapping(control, f"{path}.cache_control").get("ttl")) is not None:
        point["ttl"] = one_of(ttl, f"{path}.cache_control.ttl", ("5m", "1h"))
    return [{"cachePoint": point}]


def tools_used(messages: list[Block]) -> list[str]:
    """Return the names of the tools that messages of Converse use, each once."""
    names = (block["toolUse"]["name"] for turn in messages for block in turn["content"] if "toolUse" in block)
    return list(dict.fromkeys(names))


def tell_apart(turns: list[Block]) -> None:
    """Give documents of one name a number each: Bedrock takes a name once a request."""
    names: set[str] = set()
    numbers: dict[str, int] = {}
    for turn in turns:
        for block in turn["content"]:
            inner = block["toolResult"]["content"] if "toolResult" in block else (block,)
            for one in inner:
                if "document" in one:
                    name = one["document"]["name"]
                    stem = name[:190].rstrip()
                    while name in names:
                        # What was taken stays taken: to begin anew for each of thousands would take minutes.
                        numbers[stem] = number = numbers.get(stem, 1) + 1
                        name = f"{stem} {number}"
                    one["document"]["name"] = name
                    names.add(name)


def only_text(blocks: list[Block], path: str) -> list[Block]:
    """Return the blocks of a system prompt."""
    if any("image" in block or "document" in block for block in blocks):
        wrong(path, "must be text: Bedrock takes nothing else from the system")
    return blocks


def contents(content: object, path: str, read: Callable[[Any, str], list[Block]]) -> list[Block]:
    """Return the blocks of what is a string, or a list of parts that ``read`` reads."""
    if isinstance(content, str):
        return said(content)
    if not isinstance(content, list):
        wrong(path, "must be a string or a list of parts")
    blocks: list[Block] = []
    for at, one in enumerate(content):
        where = f"{path}[{at}]"
        part = mapping(one, where)
        blocks += read(part, where)
        blocks += cache_point(part, where)
    return blocks


def said(words: str) -> list[Block]:
    """Return text as a block, in a list; none of what Converse refuses as blank."""
    return [{"text": words}] if words.strip() else []


def worded(part: Any, path: str, kind: object) -> list[Block] | None:
    """Return the block of a part that is words, in a list; None of another."""
    if kind == "text":
        return said(text(part.get("text"), f"{path}.text"))
    if kind == "refusal":
        return said(text(part.get("refusal"), f"{path}.refusal"))
    if kind == "guarded_text":
        return [{"guardContent": {"text": {"text": text(part.get("text"), f"{path}.text")}}}]
    return None


def _data(url: str, path: str) -> tuple[str, str]:
    """Return the media type and the base64 of a data URL."""
    found = _DATA.match(url)
    if found is None:
        if url.startswith(("http://", "https://")):
            wrong(
                path,
                "is not fetched here (general_settings.fetch_images allows it); send what it shows as a data URL "
                "(data:image/png;base64,…)",
            )
        wrong(path, "must be a data URL with base64 (data:image/png;base64,…)")
    data = url[found.end() :]
    if not is_base64(data):
        wrong(path, "holds no base64 after its comma")
    return (found[1] or "").lower(), data


def is_base64(data: str) -> bool:
    """Tell whether a string is base64 of something."""
    return not len(data) % 4 and _BASE64.fullmatch(data) is not None


def image(url: str, path: str) -> Block:
    """Return the block of an image that is given as a data URL."""
    kind, data = _data(url, path)
    if kind not in _IMAGES:
        wrong(path, f"must be an image of {', '.join(sorted(set(_IMAGES.values())))}, not {kind or 'of no type'}")
    return {"image": {"format": _IMAGES[kind], "source": {"bytes": data}}}


def document(file: Any, path: str) -> Block:
    """Return the block of a file: ``{"file_data": data URL, "filename": …}``."""
    if "file_data" not in file:
        wrong(f"{path}.file_data", "must hold the file as a data URL; files are not kept here")
    kind, data = _data(text(file["file_data"], f"{path}.file_data"), f"{path}.file_data")
    if kind in _IMAGES:
        return {"image": {"format": _IMAGES[kind], "source": {"bytes": data}}}
    if kind not in _DOCUMENTS:
        wrong(
            f"{path}.file_data", f"must be a document of {', '.join(_DOCUMENTS.values())}, not {kind or 'of no type'}"
        )
    told = file.get("filename")
    stem = "document" if told is None else text(told, f"{path}.filename").rpartition(".")[0] or told
    name = re.sub(" +", " ", _NOT_IN_NAME.sub(" ", stem)).strip()[:200] or "document"
    return {"document": {"format": _DOCUMENTS[kind], "name": name, "source": {"bytes": data}}}


def tool_result(id_: str, blocks: list[Block]) -> list[Block]:
    """Return the block of what came of a call of a tool, and cache points behind it."""
    # Inside of a result Converse has no place for them.
    points = [block for block in blocks if "cachePoint" in block]
    content = [
        {"text": block["guardContent"]["text"]["text"]} if "guardContent" in block else block
        for block in blocks
        if "cachePoint" not in block
    ]
    return [{"toolResult": {"toolUseId": id_, "content": content or [{"text": "(nothing)"}]}}, *points]


def encoded(told: object, path: str) -> str:
    """Return what has to be base64."""
    if not is_base64(data := text(told, path)):
        wrong(path, "must be base64")
    return data


def tool_use_id(told: object, path: str) -> str:
    """Return the id of a call of a tool."""
    if not _ID.fullmatch(found := text(told, path)):
        wrong(path, "must be 1 to 64 letters, digits and _.:-")
    return found


def tool_name(told: object, path: str) -> str:
    """Return the name of a tool."""
    if not _NAME.fullmatch(found := text(told, path)):
        wrong(path, "must be 1 to 64 letters, digits, _ and -")
    return found


def tool_use(told: object, path: str, id_: str) -> Block:
    """Return the block of a call of a tool: ``{"name": …, "arguments": JSON}``."""
    function = mapping(told, path)
    name = tool_name(function.get("name"), f"{path}.name")
    arguments = function.get("arguments")
    words = "" if arguments is None else text(arguments, f"{path}.arguments")
    try:
        given = _arguments.decode(words or "{}")
    except (ValueError, RecursionError):
        wrong(f"{path}.arguments", "must be JSON")
    return {"toolUse": {"toolUseId": id_, "name": name, "input": mapping(given, f"{path}.arguments")}}
