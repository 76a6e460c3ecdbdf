"""Parameters for any operation of AWS's, out of botocore's model of it: always the same, in three rounds.

``full`` has every member, with values that fit their patterns; ``nasty`` every member too, with what encodings stumble
over; ``bare`` only what is required. Nothing here but the standard library: the newest boto3 has no other company.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

__all__ = ["ROUNDS", "parameters"]

ROUNDS = ("full", "nasty", "bare")
#: How deep optional members go, and how deep anything does: some shapes hold themselves.
DEPTH, DEEPEST = 5, 14
REGION, ACCOUNT = "us-west-2", "123456789012"
MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"
MODEL_ARN = f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}"
RERANK_ARN = f"arn:aws:bedrock:{REGION}::foundation-model/cohere.rerank-v3-5:0"
CUSTOM_MODEL_ARN = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:custom-model/amazon.nova-lite-v1:0/abcdefghij12"
TOKEN = "0123456789abcdef-0123456789abcdef-"
MOMENT = datetime.datetime(2026, 2, 28, 23, 59, 58, 123_000, tzinfo=datetime.UTC)

IDS = ("ABCDEFGHIJ", "abcdefghij12", "00000000-0000-4000-8000-000000000000", "1", "DRAFT", "0123456789abcdef0")
#: What a path, a query or a JSON string is likely to be spoilt by on its way.
NASTY_LABELS = ("a b+c:d", "50% off/more~stuff", "snö-雪-😀", "a=b&c=d;e?f#g", "x+y", "(a)*!'$,@[b]{c}|^`\"")
NASTY_QUERIES = ("a b+c&d=e", "50% off/雪?#", "x+y", "%41%2F", "a%", "~.-_*'()!")
NASTY_TEXT = 'a "quoted" \\ back/slash % + é 雪 😀 \u2028 </script> \t\r\n %41 '
NASTY_HEADER = "a b; c=d, (e) %41+/="
NASTY_BYTES = bytes(range(256))
#: A document holds JSON of any form.
DOCUMENT = {"text": NASTY_TEXT, "list": [1, -2.5, True, None, [], {}], "nested": {"": "empty name", "é": 0}}
_MODEL = re.compile(r"(?i)model_?(id|arn|identifier)$|^foundationModel$|^inferenceProfile")
_TOLERANT = re.compile(r"(?i)arn$|identifier$|^resource")

#: What no shape tells: requests that make sense, where the other side looks at more than their form.
ANTHROPIC = (
    b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,'
    b'"messages":[{"role":"user","content":"Hi \xe9\x9b\xaa"}]}'
)
CONVERSATION = {
    "messages": [{"role": "user", "content": [{"text": NASTY_TEXT}]}],
    "system": [{"text": "Be short."}],
    "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.5, "stopSequences": ["雪"]},
    "requestMetadata": {"who": "tests"},
}
S3 = "s3://bucket-of-tests/in/"
WHOLE: dict[str, dict[str, Any]] = {
    "Converse": CONVERSATION,
    "ConverseStream": CONVERSATION,
    "InvokeModel": {"body": ANTHROPIC},
    "InvokeModelWithResponseStream": {"body": ANTHROPIC},
    "CountTokens": {"input": {"converse": {"messages": CONVERSATION["messages"]}}},
    "InvokeGuardrailChecks": {
        "messages": CONVERSATION["messages"],
        "checks": {"contentFilter": {"categories": [{"category": "HATE"}]}},
    },
}
GENERATION = {
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {"knowledgeBaseId": "ABCDEFGHIJ", "modelArn": MODEL_ARN},
    }
}
#: The same, of an operation's members only some.
PARTS: dict[str, dict[str, Any]] = {
    "StartAsyncInvoke": {
        "modelId": "amazon.nova-reel-v1:1",
        "modelInput": {"taskType": "TEXT_VIDEO", "videoGenerationConfig": {"durationSeconds": 6}},
    },
    "InvokeInlineAgent": {"inputText": NASTY_TEXT},
    "InvokeAgent": {"inputText": NASTY_TEXT},
    # Without one it is about the memories of all keys, and the master key's alone.
    "DeleteAgentMemory": {"memoryId": "memory-of-tests"},
    "Retrieve": {"retrievalQuery": {"text": NASTY_TEXT}},
    "Rerank": {
        "queries": [{"type": "TEXT", "textQuery": {"text": NASTY_TEXT}}],
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": RERANK_ARN}, "numberOfResults": 2},
        },
        "sources": [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": NASTY_TEXT}}},
            {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": DOCUMENT}},
        ],
    },
    "RetrieveAndGenerate": GENERATION,
    "RetrieveAndGenerateStream": GENERATION,
}


class _Maker:
    def __init__(self, operation: Any, round_name: str) -> None:
        self._operation = operation.name
        self._service = operation.service_model.service_name
        self._signing = operation.service_model.signing_name or "bedrock"
        self._round = round_name
        self._nasty = round_name == "nasty"
        # Where in the lists of what is nasty an operation begins: not all with the same.
        self._count = len(operation.name)
        self._within: list[str] = []

    def structure(self, shape: Any, depth: int = 0) -> dict[str, Any]:
        """Make a structure."""
        if getattr(shape, "is_document_type", False):
            return DOCUMENT if self._nasty else {"key": "value"}
        members = list(shape.members.items())
        if getattr(shape, "is_tagged_union", False):
            members = self._chosen(members)
        self._within.append(shape.name)
        found: dict[str, Any] = {}
        for name, member in members:
            required = name in shape.required_members or getattr(shape, "is_tagged_union", False)
            token = member.metadata.get("idempotencyToken")
            if not (required or token or (self._round != "bare" and depth < DEPTH)):
                continue
            place = member.serialization.get("location")
            found[name] = TOKEN + self._round if token else self.value(member, name, depth + 1, place)
        self._within.pop()
        return found

    def _chosen(self, members: list[Any]) -> list[Any]:
        """Choose one member of a union, the last in the nasty round; none that leads back here more than once."""
        known = [pair for pair in members if not pair[0].startswith("SDK_UNKNOWN")]
        ahead = [pair for pair in known if not self._leads_back(pair[1])] or known
        return ahead[-1:] if self._nasty else ahead[:1]

    def _leads_back(self, shape: Any) -> bool:
        while shape.type_name == "list":
            shape = shape.member
        return self._within.count(shape.name) > 1

    def value(self, shape: Any, name: str, depth: int, place: str | None = None) -> Any:
        """Make a value of any shape."""
        match shape.type_name:
            case "structure":
                return self.structure(shape, depth)
            case "list":
                return self._list(shape, name, depth, place)
            case "map":
                if (self._nasty and depth % 2 and not _least(shape)) or depth > DEEPEST:
                    return {}
                return {self.text(shape.key, "key", None): self.value(shape.value, name, depth + 1)}
            case "string" | "character":
                return self.text(shape, name, place)
            case "timestamp":
                return MOMENT
            case "boolean":
                return not self._nasty
            case "blob":
                return NASTY_BYTES if self._nasty else b'{"prompt": "blob"}'
            case "float" | "double":
                return float(self._number(shape, 0.25))
            case _:
                return int(self._number(shape, 7))

    def _list(self, shape: Any, name: str, depth: int, place: str | None) -> list[Any]:
        least = _least(shape)
        if depth > DEEPEST or (not least and (depth >= DEPTH or (self._nasty and place is None and depth % 2))):
            return []
        most = shape.metadata.get("max", 2)
        return [self.value(shape.member, name, depth + 1, place) for _ in range(max(least, min(2, most)))]

    def _number(self, shape: Any, usual: float) -> float:
        least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
        return float(most if self._nasty and most < math.inf else min(max(usual, least), most))

    def text(self, shape: Any, name: str, place: str | None) -> str:
        """Make a string for a place: a label of the path, a query, a header, or the body."""
        metadata = shape.metadata
        choices = metadata.get("enum")
        if choices:
            return str(choices[-1] if self._nasty else choices[0])
        least, most, pattern = metadata.get("min", 0), metadata.get("max", 1 << 16), metadata.get("pattern")
        spoilt = self._spoilt(name, place)
        if spoilt is not None and (place == "uri" or _fits(pattern, spoilt)):
            # AWS itself would refuse some of these labels; what is on the way must not.
            return (spoilt * (least // len(spoilt) + 1))[:most] if len(spoilt) < least else spoilt[:most]
        for text in self._spellings(name, pattern or ""):
            if least <= len(text) <= most and _fits(pattern, text):
                return text
        if name.lower().endswith("arn"):
            # Some patterns of AWS's own fit none of its ARNs (``/d{12}``).
            return next(iter(self._arns(name, pattern or ""))).ljust(least, "x")
        return name[:most].ljust(least, "x")

    def _spoilt(self, name: str, place: str | None) -> str | None:
        if not self._nasty or _MODEL.search(name) or _TOLERANT.search(name):
            return None
        self._count += 1
        if place == "uri":
            return NASTY_LABELS[self._count % len(NASTY_LABELS)]
        if place == "querystring":
            return NASTY_QUERIES[self._count % len(NASTY_QUERIES)]
        return NASTY_HEADER if place in ("header", "headers") else NASTY_TEXT

    def _spellings(self, name: str, pattern: str) -> Any:
        lower = name.lower()
        if lower.startswith("inferenceprofile"):
            yield f"us.{MODEL}"
        if _MODEL.search(name):
            yield from (CUSTOM_MODEL_ARN, MODEL_ARN, MODEL) if self._nasty else (MODEL, MODEL_ARN, CUSTOM_MODEL_ARN)
        if "arn:" in pattern or lower.endswith("arn"):
            yield from self._arns(name, pattern)
        if "s3://" in pattern or "uri" in lower:
            yield from (S3, S3.rstrip("/"), "https://example.com/a")
        plain = name[:1].lower() + name[1:]
        if lower == "nexttoken":
            yield "0"
        if lower.endswith("id"):
            yield from IDS
        yield from (plain, *IDS, f"{plain}-abcdefghij", f"{plain}-ABCDEFGHIJ", "https://example.com/a", "0.5")

    def _arns(self, name: str, pattern: str) -> Any:
        here = f"{REGION}:{ACCOUNT}"
        kinds = re.findall(r"(?<=[:(|])([a-z][a-z0-9-]+)(?=\\?/|[|)])", pattern)
        for kind in dict.fromkeys((*kinds, re.sub(r"(?i)arn$", "", name).lower() or "resource")):
            for identity in IDS:
                for rest in (identity, f"{identity}/{identity}", f"{identity}:1"):
                    yield f"arn:aws:{self._signing}:{here}:{kind}/{rest}"
        yield f"arn:aws:iam::{ACCOUNT}:role/path/of-tests"
        yield f"arn:aws:kms:{here}:key/{IDS[2]}"
        yield f"arn:aws:lambda:{here}:function:of-tests"
        yield f"arn:aws:secretsmanager:{here}:secret:of-tests"


def _least(shape: Any) -> int:
    return int(shape.metadata.get("min", 0))


def _fits(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:
        # Unicode classes, which Python does not know.
        return True


def parameters(operation: Any, round_name: str) -> dict[str, Any]:
    """Make the parameters of an operation for a round; ``operation`` is botocore's model of it."""
    maker = _Maker(operation, round_name)
    made = maker.structure(operation.input_shape) if operation.input_shape is not None else {}
    if operation.name in WHOLE:
        made = {name: value for name, value in made.items() if operation.input_shape.members[name].serialization}
    return {**made, **WHOLE.get(operation.name, {}), **PARTS.get(operation.name, {})}
