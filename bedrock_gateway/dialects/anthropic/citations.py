"""Citations of an answer: Converse's as Anthropic's, and back in the next request.

Knows both forms of where cited words stand. What Anthropic has no form for is left out: a place that is not told, and
the domain of one in the web.

Source: bedrock-runtime service-2.json (``Citation``, ``CitationsDelta``, ``CitationLocation``); Anthropic API
reference, "Create a Message" (``citations`` of a block of text), "Streaming Messages" (``citations_delta``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.converse_answers import list_, object_, text_
from bedrock_gateway.dialects.fields import Block, integer, items, mapping, one_of, text

__all__ = ["cited", "citing", "without_citations"]

#: By member of Converse's location: Anthropic's type, its member for the title, and its members by Converse's.
_PLACES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "documentChar": (
        "char_location",
        "document_title",
        {"documentIndex": "document_index", "start": "start_char_index", "end": "end_char_index"},
    ),
    "documentPage": (
        "page_location",
        "document_title",
        {"documentIndex": "document_index", "start": "start_page_number", "end": "end_page_number"},
    ),
    "documentChunk": (
        "content_block_location",
        "document_title",
        {"documentIndex": "document_index", "start": "start_block_index", "end": "end_block_index"},
    ),
    "searchResultLocation": (
        "search_result_location",
        "title",
        {"searchResultIndex": "search_result_index", "start": "start_block_index", "end": "end_block_index"},
    ),
    "web": ("web_search_result_location", "title", {"url": "url"}),
}
_LOCATIONS = {kind: name for name, (kind, _, _) in _PLACES.items()}


def cited(citation: Mapping[str, Any]) -> Block | None:
    """Return Anthropic's form of a citation, whole or streamed; None where it has none.

    All that it says is optional in Converse.
    """
    location = object_(citation.get("location"))
    found = next((name for name in _PLACES if isinstance(location.get(name), dict)), None)
    if found is None:
        return None
    kind, title, members = _PLACES[found]
    words = "".join(text_(object_(one).get("text")) for one in list_(citation.get("sourceContent")))
    told: Block = {"type": kind, "cited_text": words}
    told |= {theirs: location[found][ours] for ours, theirs in members.items() if ours in location[found]}
    told[title] = citation.get("title")
    if found == "searchResultLocation":
        told["source"] = citation.get("source") or ""
    elif found == "web":
        # Anthropic's own result in the web has one, which Bedrock's has not.
        told["encrypted_index"] = ""
    return told


def citing(words: str, citations: object, path: str) -> Block:
    """Return the block of text that cites.

    Args:
        citations: as a block of Anthropic's has them; path: to that block.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    told = [
        _citation(mapping(one, f"{path}.citations.{at}"), f"{path}.citations.{at}")
        for at, one in enumerate(items(citations, f"{path}.citations"))
    ]
    return {"citationsContent": {"content": [{"text": words}], "citations": told}}


def without_citations(turns: list[Block]) -> None:
    """Leave of text that cites the text, for models that take no citations."""
    for turn in turns:
        turn["content"] = [
            block["citationsContent"]["content"][0] if "citationsContent" in block else block
            for block in turn["content"]
        ]


def _citation(citation: Mapping[str, Any], path: str) -> Block:
    found = _LOCATIONS[one_of(citation.get("type"), f"{path}.type", tuple(_LOCATIONS))]
    _, title, members = _PLACES[found]
    place = {
        ours: text(citation[theirs], f"{path}.{theirs}")
        if found == "web"
        else integer(citation[theirs], f"{path}.{theirs}")
        for ours, theirs in members.items()
        if theirs in citation
    }
    told: Block = {"location": {found: place}}
    if words := text(citation.get("cited_text", ""), f"{path}.cited_text"):
        told["sourceContent"] = [{"text": words}]
    if citation.get(title) is not None:
        told["title"] = text(citation[title], f"{path}.{title}")
    if found == "searchResultLocation" and citation.get("source"):
        told["source"] = text(citation["source"], f"{path}.source")
    return told
