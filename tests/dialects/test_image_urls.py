"""Pictures named by URL, in every place the three dialects have for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedrock_gateway.dialects.openai.images.urls import MOST_CHARACTERS, images_named, with_images
from bedrock_gateway.errors import InvalidRequest

URL = "https://example.com/cat.png"
SHOWN = {URL: ("image/png", "iVBO")}
DATA = "data:image/png;base64,iVBO"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, {"type": "image_url", "image_url": {"url": DATA}}),
        ({"type": "image_url", "image_url": URL}, {"type": "image_url", "image_url": DATA}),
        ({"type": "input_image", "image_url": URL}, {"type": "input_image", "image_url": DATA}),
        (
            {"type": "image", "source": {"type": "url", "url": URL}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        ),
        ({"type": "text", "text": URL}, {"type": "text", "text": URL}),
        ({"type": "image_url", "image_url": {"url": DATA}}, {"type": "image_url", "image_url": {"url": DATA}}),
        ({"type": "image_url", "image_url": 5}, {"type": "image_url", "image_url": 5}),
    ],
)
@pytest.mark.parametrize("name", ["messages", "input"])
def test_a_picture_takes_the_place_of_its_url(name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """What is a picture is found and replaced; all else stays."""
    body = json.dumps({"model": "m", name: [{"role": "user", "content": [before]}]}).encode()

    assert ([URL] if before != after else []) == images_named(body)
    assert {"model": "m", name: [{"role": "user", "content": [after]}]} == json.loads(with_images(body, SHOWN))


@pytest.mark.parametrize("turns", [None, 5, "x", [5], [{"content": 5}], [{"content": [5]}], [{"content": [{}]}]])
def test_other_shapes_are_left_to_who_reads_them(turns: Any) -> None:
    """Where there are no parts there are no pictures."""
    assert [] == images_named(json.dumps({"messages": turns, "input": turns}).encode())


def test_a_picture_counts_wherever_it_is_named() -> None:
    """One that is fetched once and named a thousand times would fill the memory a thousand times."""
    part = {"type": "image_url", "image_url": {"url": URL}}
    body = json.dumps({"messages": [{"role": "user", "content": [part] * 1000}]}).encode()
    allowed, larger = "A" * (MOST_CHARACTERS // 1000), "A" * (MOST_CHARACTERS // 1000 + 1)

    assert len(with_images(body, {URL: ("image/png", allowed)})) > 1000 * len(allowed)
    with pytest.raises(InvalidRequest, match="20 MB in all") as refused:
        with_images(body, {URL: ("image/png", larger)})
    assert "image_url" == refused.value.param
