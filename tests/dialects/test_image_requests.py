"""Requests for images as each model is asked: pairs of what comes and what goes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_masks import pixels, png

from bedrock_gateway.dialects.openai.dialect import IMAGES
from bedrock_gateway.dialects.openai.images.answer import ImageRelay, picture_type
from bedrock_gateway.dialects.openai.images.request import ImageTranslation, read_edit, read_generation, read_variation
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.errors import InvalidRequest, MaybeBilled

CANVAS, TITAN, SD = "amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v1", "stability.sd3-5-large-v1:0"
ULTRA, CORE = "stability.stable-image-ultra-v1:1", "stability.stable-image-core-v1:1"
TRANSFER = "stability.stable-style-transfer-v1:0"
PICTURES = {name: base64.b64encode(name.encode()).decode() for name in ("one", "two", "mask")}
ONE, TWO, MASK = PICTURES["one"], PICTURES["two"], PICTURES["mask"]


def asked(model: str, body: bytes, content_type: str = "application/json", *, drop: bool = False) -> Asked:
    """Return a request for a model."""
    return Asked(
        path="", headers={"Content-Type": content_type}, body=body, drop_params=drop, model_of=lambda name: model
    )


def generation(model: str, /, *, drop: bool = False, **members: Any) -> ImageTranslation:
    """Read a request in JSON."""
    return read_generation(asked(model, json.dumps({"model": "m", "prompt": "cat", **members}).encode(), drop=drop))


def form(members: Mapping[str, str], files: tuple[str, ...]) -> bytes:
    """Write a form; a file's content is what stands behind the colon, or its name."""
    head = "--b\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in {"model": "m", **members}.items()]
    for file in files:
        name, colon, content = file.partition(":")
        parts.append(f'{head}"{name}"; filename="f"\r\n\r\n{content if colon else name}\r\n')
    return ("".join(parts) + "--b--").encode()


def edit(model: str, *files: str, vary: bool = False, drop: bool = False, **members: str) -> ImageTranslation:
    """Read a request that is a form."""
    request = asked(model, form(members, files), "multipart/form-data; boundary=b", drop=drop)
    return read_variation(request) if vary else read_edit(request)


@pytest.mark.parametrize("model", [CANVAS, TITAN, "us." + CANVAS])
@pytest.mark.parametrize(
    ("members", "body"),
    [
        ({}, {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "cat"}}),
        (
            {"size": "auto", "quality": "auto", "background": "auto", "stream": False, "output_format": "png"},
            {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "cat"}},
        ),
        (
            {
                "quality": "medium",
                "n": 5,
                "size": "1280x720",
                "cfg_scale": 8,
                "user": "ann",
                "metadata": {"tags": ["t"]},
            },
            {
                "taskType": "TEXT_IMAGE",
                "textToImageParams": {"text": "cat"},
                "imageGenerationConfig": {
                    **{"numberOfImages": 5, "width": 1280, "height": 720, "quality": "standard"},
                    "cfgScale": 8,
                },
            },
        ),
        (
            {"taskType": "COLOR_GUIDED_GENERATION", "colors": ["#ff9800"], "imageGenerationConfig": {"seed": 3}},
            {
                "taskType": "COLOR_GUIDED_GENERATION",
                "colorGuidedGenerationParams": {"text": "cat", "colors": ["#ff9800"]},
                "imageGenerationConfig": {"seed": 3},
            },
        ),
        (
            {"textToImageParams": {"negativeText": "dog"}},
            {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "cat", "negativeText": "dog"}},
        ),
    ],
)
def test_amazons_models_make(model: str, members: dict[str, Any], body: dict[str, Any]) -> None:
    """OpenAI's members have their places, the model's own go where they belong."""
    assert body == json.loads(generation(model, **members).body)


@pytest.mark.parametrize(
    ("files", "members", "body"),
    [
        (
            ("image:one", "mask"),
            {"prompt": "hat", "quality": "high", "seed": "9"},
            {
                "taskType": "INPAINTING",
                "inPaintingParams": {"text": "hat", "image": ONE, "maskImage": MASK},
                "imageGenerationConfig": {"quality": "premium", "seed": 9},
            },
        ),
        (
            ("image[]:one",),
            {"prompt": "5", "mask_prompt": "7"},
            {"taskType": "INPAINTING", "inPaintingParams": {"text": "5", "image": ONE, "maskPrompt": "7"}},
        ),
        (
            ("image[]:one", "image[]:two"),
            {"prompt": "hat", "similarityStrength": "0.7"},
            {
                "taskType": "IMAGE_VARIATION",
                "imageVariationParams": {"text": "hat", "images": [ONE, TWO], "similarityStrength": 0.7},
            },
        ),
        (
            ("image:one", "mask"),
            {"prompt": "sky", "taskType": "OUTPAINTING", "outPaintingMode": "PRECISE"},
            {
                "taskType": "OUTPAINTING",
                "outPaintingParams": {"text": "sky", "image": ONE, "maskImage": MASK, "outPaintingMode": "PRECISE"},
            },
        ),
        (
            ("image:one",),
            {"prompt": "", "task_type": "BACKGROUND_REMOVAL", "n": "1", "quality": "standard"},
            {"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {"image": ONE}},
        ),
        (
            ("image:one", "image:two"),
            {"prompt": "", "taskType": "VIRTUAL_TRY_ON", "maskType": "GARMENT", "returnMask": "true"},
            {
                "taskType": "VIRTUAL_TRY_ON",
                "virtualTryOnParams": {
                    **{"sourceImage": ONE, "referenceImage": TWO, "maskType": "GARMENT", "returnMask": True}
                },
            },
        ),
    ],
)
def test_amazons_models_edit(files: tuple[str, ...], members: dict[str, str], body: dict[str, Any]) -> None:
    """An edit is the task that fits, or the one that is asked for."""
    assert body == json.loads(edit(CANVAS, *files, **members).body)


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        *(
            ("1024x1024", "1:1"),
            ("1536x1024", "3:2"),
            ("1024x1536", "2:3"),
            ("1792x1024", "16:9"),
            ("1024x1792", "9:16"),
        ),
        *(("1000x800", "5:4"), ("99999x1", "21:9"), ("1x99999", "9:21"), ("auto", None)),
    ],
)
@pytest.mark.parametrize("model", [SD, ULTRA, CORE])
def test_stability_makes(model: str, size: str, ratio: str | None) -> None:
    """A size becomes the ratio nearest to it."""
    body = {"prompt": "cat", "negative_prompt": "dog", "seed": 5} | ({} if ratio is None else {"aspect_ratio": ratio})

    assert body == json.loads(generation(model, size=size, n=1, negative_prompt="dog", seed=5).body)


@pytest.mark.parametrize(
    ("model", "files", "members", "body"),
    [
        (SD, ("image:one",), {"strength": "0.5"}, {"image": ONE, "mode": "image-to-image", "strength": 0.5}),
        (ULTRA, ("image:one",), {}, {"image": ONE}),
        (
            "stability.stable-image-inpaint-v1:0",
            ("image:one", "mask"),
            {"grow_mask": "5"},
            {"image": ONE, "mask": MASK, "grow_mask": 5},
        ),
        ("us.stability.stable-outpaint-v1:0", ("image:one",), {"left": "200"}, {"image": ONE, "left": 200}),
        (
            "stability.stable-image-search-replace-v1:0",
            ("image:one",),
            {"search_prompt": "7"},
            {"image": ONE, "search_prompt": "7"},
        ),
        (TRANSFER, ("image:one", "image:two"), {}, {"init_image": ONE, "style_image": TWO}),
        (TRANSFER, ("image:one", "style_image:two"), {}, {"init_image": ONE, "style_image": TWO}),
        (
            "stability.stable-image-style-guide-v1:0",
            ("image:one",),
            {"size": "1024x1024"},
            {"image": ONE, "aspect_ratio": "1:1"},
        ),
    ],
)
def test_stability_edits(model: str, files: tuple[str, ...], members: dict[str, str], body: dict[str, Any]) -> None:
    """Its services are given the image under the name each has for it, and their own members as they are."""
    assert body | {"prompt": "hat"} == json.loads(edit(model, *files, prompt="hat", **members).body)


@pytest.mark.parametrize(
    ("model", "files", "members", "param"),
    [
        (CANVAS, (), {}, "image"),
        (CANVAS, ("image:one",) * 6, {}, "image"),
        (CANVAS, ("image:one", "image:two"), {"mask_prompt": "x"}, "image"),
        (CANVAS, ("image:one",), {"taskType": "MAGIC"}, "taskType"),
        (CANVAS, ("image:one",), {"n": "many"}, "n"),
        (CANVAS, ("image:one",), {"taskType": "BACKGROUND_REMOVAL", "n": "2"}, "n"),
        (CANVAS, ("image:one",), {"taskType": "BACKGROUND_REMOVAL", "size": "512x512"}, "size"),
        (CANVAS, ("image:one",), {"taskType": "BACKGROUND_REMOVAL", "quality": "hd"}, "quality"),
        (CANVAS, ("image:one", "mask"), {"taskType": "IMAGE_VARIATION"}, "mask"),
        (SD, ("image:one", "mask"), {}, "mask"),
        (CANVAS, ("image:one",), {"colors[][a]": "x"}, "colors[][a]"),
        (CANVAS, ("image:one",), {"a" + "[a]" * 2600: "x"}, None),
        (CANVAS, ("image:one",), {"seed": "1", "seed[a]": "x"}, "seed[a]"),
        (CANVAS, ("image:one",), {"seed": "1", "seed[]": "x"}, "seed[]"),
        (CANVAS, ("image:one",), {"imageGenerationConfig": "large"}, "imageGenerationConfig"),
        (CANVAS, ("image:one",), {"response_format": "url"}, "response_format"),
        (CANVAS, ("image:one", "mask:"), {}, "mask"),
        (SD, ("image:one",), {"size": "512x512"}, "size"),
        (SD, ("image:one", "image:two"), {}, "image"),
        (CORE, ("image:one",), {}, "model"),
        ("stability.stable-diffusion-xl-v1", ("image:one",), {}, "model"),
        ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/x", ("image:one",), {}, "model"),
    ],
)
def test_what_cannot_be_edited(model: str, files: tuple[str, ...], members: dict[str, str], param: str | None) -> None:
    """What is wrong with a form is told by the name of its field."""
    with pytest.raises(InvalidRequest) as caught:
        edit(model, *files, **members)

    assert param == caught.value.param


def test_what_is_nested_in_a_form() -> None:
    """Objects and lists are told as the SDK writes them; what is text stays so."""
    members = {"metadata[tags][]": "5", "imageGenerationConfig[seed]": "9", "imageVariationParams[text]": "7"}
    told = edit(CANVAS, "image:one", **members)

    assert ("5",) == told.tags
    body = {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"images": [ONE], "text": "7"}}
    assert body | {"imageGenerationConfig": {"seed": 9}} == json.loads(told.body)
    told = edit(CANVAS, "image:one", prompt="x", taskType="COLOR_GUIDED_GENERATION", **{"colors[]": "#ff9800"})
    assert ["#ff9800"] == json.loads(told.body)["colorGuidedGenerationParams"]["colors"]


@pytest.mark.parametrize(
    ("model", "members", "pixel"),
    [
        (CANVAS, {}, 0),
        (CANVAS, {"taskType": "OUTPAINTING"}, 255),
        ("stability.stable-image-erase-object-v1:0", {}, 255),
    ],
)
def test_masks(model: str, members: dict[str, str], pixel: int) -> None:
    """What OpenAI's mask hides is in the colour by which each model is told what to change."""
    mask = png(1, 1, 6, bytes(5))
    parts = form(members, ("image:one",))[: -len(b"--b--")]
    parts += b'--b\r\nContent-Disposition: form-data; name="mask"; filename="m"\r\n\r\n' + mask + b"\r\n--b--"
    body = json.loads(read_edit(asked(model, parts, "multipart/form-data; boundary=b")).body)
    told = body["mask"] if "mask" in body else next(v for v in body.values() if type(v) is dict)["maskImage"]

    assert (1, 1, [bytes([pixel])]) == pixels(base64.b64decode(told))


def test_variations() -> None:
    """Amazon's models vary an image without words; Stability's do not."""
    body = {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"images": [ONE]}}

    assert body == json.loads(edit(TITAN, "image:one", vary=True).body)
    with pytest.raises(InvalidRequest, match="makes no variations"):
        edit(SD, "image:one", vary=True)


@pytest.mark.parametrize("model", [CANVAS, SD])
def test_what_has_no_place(model: str) -> None:
    """All of it is refused at once, or left out; what it said of the caller is kept."""
    members: dict[str, Any] = {"background": "transparent", "partial_images": 2, "moderation": "low", "user": "ann"}
    members |= {"style": "vivid"} if model == CANVAS else {"n": 2}

    with pytest.raises(InvalidRequest, match=r"partial_images.*background.*(style|n): ") as caught:
        generation(model, **members)
    assert "partial_images" == caught.value.param
    told = generation(model, drop=True, metadata={"tags": ["a", 5]}, **members)
    assert ("ann", ("a",)) == (told.end_user, told.tags)
    assert generation(model).body == told.body


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
_NAMES = st.sampled_from(
    [
        *("model", "prompt", "n", "size", "quality", "response_format", "user", "metadata", "style", "taskType"),
        *("imageGenerationConfig", "textToImageParams", "seed", "drop_params", "tags", "background"),
    ]
)


@given(st.dictionaries(_NAMES, _JSON, max_size=6), st.sampled_from([CANVAS, SD, "x"]), st.booleans())
def test_members_of_any_type(members: dict[str, Any], model: str, drop: bool) -> None:
    """Whatever types they have, it is a request or refused."""
    try:
        told = IMAGES.read(asked(model, json.dumps({"model": "m", "prompt": "cat"} | members).encode(), drop=drop))
    except InvalidRequest:
        return
    assert type(json.loads(told.body)) is dict


@given(_JSON | st.fixed_dictionaries({}, optional={"images": _JSON, "error": _JSON, "finish_reasons": _JSON}))
def test_answers_of_any_type(answer: object) -> None:
    """Whatever a model answers is images or a refusal."""
    relay = ImageRelay(5, lambda content, content_type: "url")
    assert b"" == relay.receive_data(json.dumps(answer).encode())
    try:
        told = json.loads(relay.receive_eof())
    except (InvalidRequest, MaybeBilled):
        return
    assert 5 == told["created"] and told["data"]


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"<svg onload=alert(1)>", "application/octet-stream"),
    ],
)
def test_what_an_image_is(begins: bytes, kind: str) -> None:
    """Its type is what it begins with; what is no image is shown by no browser."""
    assert kind == picture_type(begins + b"more")
