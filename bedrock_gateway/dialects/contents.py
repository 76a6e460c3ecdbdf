"""What a request hands in beside text: pictures, documents, recordings, and what no request tells the size of.

Knows where each kind of native body has such parts. What AWS reads as a picture for certain is told with its length, so
that it need not be taken for text too; what only may be one stays text and is a picture besides. Nothing is decoded.
Must not know money, nor how many tokens anything is.

Source: bedrock-runtime service-2.json (``ContentBlock``, ``ToolResultContentBlock``, ``SystemContentBlock``,
``GuardrailConverseContentBlock``, ``DocumentSource``, ``S3Location``, ``SystemTool``); Amazon Nova user guide, complete
request schema (as Converse); Anthropic API reference, messages (content blocks, tools) and the list of tools that run
on its servers; Bedrock user guide, Llama (``images``), Pixtral (``image_url``), Titan Multimodal Embeddings
(``inputImage``), Nova embeddings (``singleEmbeddingParams``), TwelveLabs (``mediaSource``).
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from bedrock_gateway.dialects.output_limits import ADDITIONAL, family
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["Contents", "contents", "only_text"]

#: Members of a Converse request beside its text that hand nothing in.
_PLAIN = frozenset(
    [
        *("messages", "system", "inferenceConfig", "requestMetadata", "guardrailConfig", "performanceConfig"),
        *("serviceTier", "outputConfig", "additionalModelResponseFieldPaths"),
    ]
)
#: Members of a Converse content block that are text, or JSON that is read as text.
_TEXT_BLOCKS = frozenset(
    [
        *("text", "json", "toolUse", "cachePoint", "reasoningContent", "citationsContent", "searchResult"),
        *("toolAddition", "toolRemoval"),
    ]
)
#: Formats of documents that hold nothing but their text; every other may hold more than its bytes.
_TEXT_FORMATS = frozenset(["txt", "md"])
#: Types of Anthropic's content blocks that are text.
_TEXT_TYPES = frozenset(["text", "thinking", "redacted_thinking", "tool_use", "search_result"])
#: How the types of tools begin that the caller runs and Anthropic describes to the model.
_DESCRIBED_TOOLS = ("bash_", "text_editor_", "computer_", "memory_")
#: Families that speak OpenAI's messages, and those of them that have models which see.
_SEEING = frozenset(["google", "mistral", "moonshot", "moonshotai", "nvidia", "qwen", "writer"])
_CHAT = _SEEING | {"ai21.jamba", "deepseek", "minimax", "openai", "xai", "zai"}
_RECORDINGS = frozenset(["input_audio", "audio_url", "video_url", "audio", "video"])
_FILES = frozenset(["file", "input_file", "document_url"])
#: A string of nothing but base64 is a picture under the name of one, and some file elsewhere if it is longer than any
#: digest (characters).
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")
_LONGEST_DIGEST = 256
_PICTURE_NAMES = ("image", "mask")
_RECORDING_NAMES = frozenset(["video", "audio", "mediaSource"])

_S3 = "an object in S3 that it names may hold any amount"
_PROMPT = "the text of a prompt in prompt management is not in the request"
_SERVER_TOOL = "a tool that runs at the model's side reads any amount"


# Filled in while a body is looked through.
@attrs.define(kw_only=True)
class Contents:
    """Parts of one request that are no text.

    Attributes:
        pictures: how many there are or may be.
        picture_characters: characters of base64 in those that are pictures for certain.
        documents: files whose text may be longer than they are.
        recordings: videos and sounds.
        described_tools: tools whose description the model's side adds.
        unbounded: why no request of this kind tells what it hands in, or "".
    """

    pictures: int = 0
    picture_characters: int = 0
    documents: int = 0
    recordings: int = 0
    described_tools: int = 0
    unbounded: str = ""

    def picture(self, data: object) -> None:
        """Count a picture; ``data`` is its base64 where it is one for certain."""
        self.pictures += 1
        if type(data) is str:
            self.picture_characters += len(data)

    def located(self, source: object) -> bool:
        """Take note of a source in S3; tell whether it is one."""
        if _of(source, "s3Location") is None:
            return False
        self.unbounded = _S3
        return True


def contents(operation: Operation, model_id: str, body: dict[str, Any]) -> Contents:
    """Look a parsed request through for everything that is no text.

    ``model_id``: of the model or, where an ARN tells no family, of the model behind it.
    """
    found = Contents()
    if operation.kind is Kind.CONVERSE:
        if ":prompt/" in model_id or body.get("promptVariables") is not None:
            found.unbounded = _PROMPT
        _converse(body, found)
        additional = body.get(ADDITIONAL)
        if type(additional) is dict:
            _tools(additional.get("tools"), found)
            _suspects(additional, found)
    elif operation.kind is Kind.GUARDRAIL:
        _blocks([body.get("content")], found)
    elif operation.kind is Kind.INVOKE:
        _invoke(family(model_id), body, found)
    return found


def only_text(body: dict[str, Any]) -> bool:
    """Tell whether a Converse request for certain hands in text and nothing else: then there is nothing to find."""
    if not body.keys() <= _PLAIN:
        return False
    try:
        for message in body["messages"]:
            for block in message["content"]:
                if len(block) != 1 or "text" not in block:
                    return False
        for block in body.get("system", ()):
            if len(block) != 1 or "text" not in block:
                return False
    except (KeyError, TypeError):
        return False
    return True


def _invoke(name: str, body: dict[str, Any], found: Contents) -> None:
    chats = type(body.get("messages")) is list
    if name == "anthropic":
        _tools(body.get("tools"), found)
        if body.get("mcp_servers"):
            found.unbounded = _SERVER_TOOL
        _typed_blocks(_pending(body), found, sees=True)
    elif name == "amazon.nova" and chats:
        _converse(body, found)
    elif name in _CHAT and chats:
        _tools(body.get("tools"), found)
        _typed_blocks(_pending(body), found, sees=name in _SEEING)
    elif name == "meta":
        images = body.get("images")
        for image in images if type(images) is list else ():
            found.picture(image)
        _suspects({key: value for key, value in body.items() if key not in ("images", "prompt")}, found)
    else:
        _suspects(body, found)


def _of(value: object, name: str) -> Any:
    """Return a member of what may be an object; None where there is none."""
    return value.get(name) if type(value) is dict else None


def _pending(body: dict[str, Any]) -> list[object]:
    """Return every list of content blocks of a conversation: the system's and each message's."""
    pending: list[object] = [body.get("system")]
    messages = body.get("messages")
    if type(messages) is list:
        pending += [message.get("content") for message in messages if type(message) is dict]
    return pending


def _converse(body: dict[str, Any], found: Contents) -> None:
    tools = _of(body.get("toolConfig"), "tools")
    for tool in tools if type(tools) is list else ():
        if type(tool) is dict and "systemTool" in tool:
            found.unbounded = _SERVER_TOOL
    _blocks(_pending(body), found)


def _blocks(pending: list[object], found: Contents) -> None:
    """Look through lists of Converse content blocks, and those inside tool results and guarded content."""
    while pending:
        blocks = pending.pop()
        if type(blocks) is not list:
            if type(blocks) is dict:
                _suspects(blocks, found)
            continue
        for block in blocks:
            if type(block) is not dict:
                continue
            for name, value in block.items():
                if name in _TEXT_BLOCKS:
                    continue
                if name == "toolResult":
                    pending.append(_of(value, "content"))
                elif name == "guardContent":
                    pending.append([value])
                elif name == "image":
                    source = _of(value, "source")
                    if not found.located(source):
                        found.picture(_of(source, "bytes"))
                elif name == "document":
                    _document(value, found)
                elif name in ("video", "audio"):
                    found.recordings += 1
                    found.located(_of(value, "source"))
                else:
                    _suspects({name: value}, found)


def _document(document: object, found: Contents) -> None:
    """Count a Converse document, but for one whose text is in the request."""
    source = _of(document, "source")
    if found.located(source) or _of(source, "bytes") is None:
        return
    if _of(document, "format") not in _TEXT_FORMATS:
        found.documents += 1


def _typed_blocks(pending: list[object], found: Contents, *, sees: bool) -> None:
    """Look through content blocks that have a type: Anthropic's, and the parts of OpenAI's messages.

    ``sees``: whether such a model takes pictures, so that what is shaped as one is not read as text.
    """
    while pending:
        blocks = pending.pop()
        for block in blocks if type(blocks) is list else ():
            if type(block) is not dict:
                continue
            told = block.get("type")
            kind = told if type(told) is str else ""
            if kind in _TEXT_TYPES:
                continue
            source = block.get("source")
            if kind == "image":
                found.picture(_of(source, "data") if sees and _of(source, "type") == "base64" else None)
            elif kind == "document":
                if _of(source, "type") == "content":
                    pending.append(_of(source, "content"))
                elif _of(source, "type") != "text":
                    found.documents += 1
            elif kind == "tool_result":
                pending.append(block.get("content"))
            elif kind == "image_url":
                _image_url(block.get("image_url"), found, sees)
            else:
                found.recordings += kind in _RECORDINGS
                found.documents += kind in _FILES
                _suspects(block, found)


def _image_url(image: object, found: Contents, sees: bool) -> None:
    url = image if type(image) is str else _of(image, "url")
    if type(url) is str and url.startswith("s3://"):
        found.unbounded = _S3
    else:
        found.picture(url if sees and type(url) is str and url.startswith("data:image/") else None)


def _tools(tools: object, found: Contents) -> None:
    """Look through the tools of Anthropic's and OpenAI's requests for such as the caller does not describe itself."""
    for tool in tools if type(tools) is list else ():
        kind = _of(tool, "type")
        if type(kind) is str and kind.startswith(_DESCRIBED_TOOLS):
            found.described_tools += 1
        elif kind is not None and kind not in ("custom", "function"):
            found.unbounded = _SERVER_TOOL


def _suspects(body: object, found: Contents) -> None:
    """Look through JSON of a shape nobody knows: whatever looks like a file counts, and stays text besides."""
    pending: list[tuple[object, bool]] = [(body, False)]
    while pending:
        value, pictured = pending.pop()
        if type(value) is dict:
            found.located(value)
            for name, child in value.items():
                if child and name in _RECORDING_NAMES:
                    found.recordings += 1
                pending.append((child, pictured or any(word in name.lower() for word in _PICTURE_NAMES)))
        elif type(value) is list:
            pending += [(child, pictured) for child in value]
        elif type(value) is str:
            embedded = _BASE64.fullmatch(value) is not None
            if value.startswith("s3://"):
                found.unbounded = _S3
            elif value.startswith("data:image/") or (pictured and (embedded or value.startswith(("data:", "http")))):
                found.pictures += 1
            elif value.startswith("data:") or (embedded and len(value) > _LONGEST_DIGEST):
                found.documents += 1
