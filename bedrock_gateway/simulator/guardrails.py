"""Guardrails: ApplyGuardrail, InvokeGuardrailChecks, and the guardrail inside a model call.

Every guardrail here has the same policy: the word ``forbidden`` is on its word list, mail addresses are personal
information. Knows units as AWS counts them: one per policy and per 1,000 characters begun.
Source: botocore service model of bedrock-runtime (shapes); AWS pricing page, guardrails (units).
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from bedrock_gateway.simulator.conversation import mapping
from bedrock_gateway.simulator.protocol import Whole, compact, require

__all__ = ["Verdict", "apply_guardrail", "check", "invocation_assessment", "run_checks"]

CHARACTERS_PER_UNIT = 1_000
FORBIDDEN = re.compile(r"\bforbidden\b", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}")
_IDENTIFIER = re.compile(r"[a-z0-9]+|arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+")
_VERSION = re.compile(r"[1-9][0-9]{0,7}|DRAFT")
CATEGORIES = {
    "contentFilter": ("VIOLENCE", "HATE", "SEXUAL", "MISCONDUCT", "INSULTS"),
    "promptAttack": ("JAILBREAK", "PROMPT_INJECTION", "PROMPT_LEAKAGE"),
}


@attrs.frozen(kw_only=True)
class Verdict:
    """What a guardrail found in a text: words on its list, mail addresses, and the units it took."""

    words: tuple[str, ...]
    mails: tuple[str, ...]
    units: int
    characters: int
    images: int = 0

    @property
    def intervened(self) -> bool:
        return bool(self.words)

    def usage(self) -> dict[str, int]:
        """Give the units as every guardrail answer has them."""
        usage = {
            "topicPolicyUnits": self.units,
            "contentPolicyUnits": self.units,
            "wordPolicyUnits": self.units,
            "sensitiveInformationPolicyUnits": self.units if self.mails else 0,
            "sensitiveInformationPolicyFreeUnits": self.units,
            "contextualGroundingPolicyUnits": 0,
        }
        if self.images:
            usage["contentPolicyImageUnits"] = self.images
        return usage

    def assessment(self) -> dict[str, Any]:
        """Give the policies that found something."""
        found: dict[str, Any] = {}
        if self.words:
            found["wordPolicy"] = {
                "customWords": [{"match": word, "action": "BLOCKED", "detected": True} for word in self.words],
                "managedWordLists": [],
            }
        if self.mails:
            found["sensitiveInformationPolicy"] = {
                "piiEntities": [
                    {"match": mail, "type": "EMAIL", "action": "ANONYMIZED", "detected": True} for mail in self.mails
                ],
                "regexes": [],
            }
        return found


def units_of(characters: int) -> int:
    """Count text units: one per 1,000 characters begun, at least one."""
    return max(1, -(-characters // CHARACTERS_PER_UNIT))


def check(text: str, images: int = 0) -> Verdict:
    """Look at a text."""
    return Verdict(
        words=tuple(dict.fromkeys(word.lower() for word in FORBIDDEN.findall(text))),
        mails=tuple(dict.fromkeys(_MAIL.findall(text))),
        units=units_of(len(text)),
        characters=len(text),
        images=images,
    )


def check_identity(identifier: Any, version: Any) -> None:
    """Check a guardrail's id or ARN and its version."""
    require(
        isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) is not None,
        "The guardrail identifier or version provided in the request does not exist.",
    )
    require(
        isinstance(version, str) and _VERSION.fullmatch(version) is not None,
        "The guardrail identifier or version provided in the request does not exist.",
    )


def invocation_assessment(verdict: Verdict) -> dict[str, Any]:
    """Give the assessment with metrics, as a trace carries it."""
    return {
        **verdict.assessment(),
        "invocationMetrics": {
            "guardrailProcessingLatency": 25,
            "usage": verdict.usage(),
            "guardrailCoverage": {"textCharacters": {"guarded": verdict.characters, "total": verdict.characters}},
        },
    }


def apply_guardrail(identifier: str, version: str, body: dict[str, Any]) -> Whole:
    """Answer ApplyGuardrail."""
    check_identity(identifier, version)
    source = body.get("source")
    require(
        source in ("INPUT", "OUTPUT"),
        f"1 validation error detected: Value '{source}' at 'source' failed to satisfy constraint: "
        "Member must satisfy enum value set: [INPUT, OUTPUT]",
    )
    content = body.get("content")
    require(isinstance(content, list) and bool(content), "content: at least one content block is required.")
    texts: list[str] = []
    images = 0
    for block in content or ():
        block = mapping(block, "content")
        if "image" in block:
            images += 1
        else:
            text = mapping(block.get("text"), "content.text").get("text")
            require(isinstance(text, str), "content.text.text: is required.")
            texts.append(str(text))
    verdict = check("\n".join(texts), images)
    outputs: list[dict[str, str]] = []
    if verdict.intervened:
        outputs = [{"text": "Sorry, the model cannot answer this question."}]
    elif verdict.mails:
        outputs = [{"text": _MAIL.sub("{EMAIL}", text)} for text in texts]
    acted = bool(outputs)
    answer = {
        "usage": verdict.usage(),
        "action": "GUARDRAIL_INTERVENED" if acted else "NONE",
        "actionReason": "Guardrail blocked." if verdict.intervened else "Guardrail masked." if acted else "No action.",
        "outputs": outputs,
        "assessments": [invocation_assessment(verdict)],
        "guardrailCoverage": {
            "textCharacters": {"guarded": verdict.characters, "total": verdict.characters},
            **({"images": {"guarded": images, "total": images}} if images else {}),
        },
    }
    return Whole(body=compact(answer))


def run_checks(body: dict[str, Any]) -> Whole:
    """Answer InvokeGuardrailChecks."""
    messages = body.get("messages")
    require(isinstance(messages, list) and bool(messages), "messages: at least one message is required.")
    checks = mapping(body.get("checks"), "checks")
    require(bool(checks), "checks: at least one check is required.")
    texts: list[tuple[int, int, str]] = []
    for number, message in enumerate(messages or ()):
        content = mapping(message, f"messages.{number}").get("content")
        require(isinstance(content, list) and bool(content), f"messages.{number}.content: is required.")
        for place, block in enumerate(content or ()):
            text = mapping(block, "content").get("text")
            require(isinstance(text, str) and bool(text), f"messages.{number}.content.{place}.text: is required.")
            texts.append((number, place, str(text)))
    verdict = check("\n".join(text for _, _, text in texts))
    results: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for name, known in CATEGORIES.items():
        if name not in checks:
            continue
        categories = mapping(checks[name], name).get("categories")
        require(isinstance(categories, list) and bool(categories), f"checks.{name}.categories: is required.")
        asked = [mapping(item, "category").get("category") for item in categories or ()]
        require(all(category in known for category in asked), f"checks.{name}.categories: unknown category.")
        score = 0.9 if verdict.intervened else 0.0
        results[name] = {"results": [{"category": category, "severityScore": score} for category in asked]}
        usage[name] = {"textUnits": verdict.units}
    if "sensitiveInformation" in checks:
        entities = mapping(checks["sensitiveInformation"], "sensitiveInformation").get("entities")
        require(isinstance(entities, list) and bool(entities), "checks.sensitiveInformation.entities: is required.")
        wanted = [mapping(entity, "entity").get("type") for entity in entities or ()]
        found = [
            {
                "type": "EMAIL",
                "confidenceScore": 0.99,
                "beginOffset": match.start(),
                "endOffset": match.end(),
                "messageIndex": number,
                "contentIndex": place,
            }
            for number, place, text in texts
            for match in _MAIL.finditer(text)
            if "EMAIL" in wanted
        ]
        results["sensitiveInformation"] = {"results": found, "truncated": False}
        usage["sensitiveInformation"] = {"textUnits": verdict.units}
    return Whole(body=compact({"results": results, "usage": usage}))
