"""docs/dialects.md, images, row by row: each names a check here, which is given endless inputs."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from dialect_tables import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from test_image_requests import CANVAS, CORE, SD, TITAN, TRANSFER, ULTRA, edit, generation

from bedrock_gateway.dialects.openai.images.answer import ImageRelay
from bedrock_gateway.dialects.openai.images.request import read_generation
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.errors import InvalidRequest, MaybeBilled

SECTION = "Images ↔ InvokeModel"
INPAINT, STYLE_GUIDE = "stability.stable-image-inpaint-v1:0", "us.stability.stable-image-style-guide-v1:0"
AMAZONS, MAKERS = st.sampled_from([CANVAS, TITAN]), st.sampled_from([SD, ULTRA, CORE])
#: Where each task has its parameters, and in them the images that it is handed.
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "TEXT_IMAGE": ("textToImageParams", ("conditionImage",)),
    "COLOR_GUIDED_GENERATION": ("colorGuidedGenerationParams", ("referenceImage",)),
    "INPAINTING": ("inPaintingParams", ("image",)),
    "OUTPAINTING": ("outPaintingParams", ("image",)),
    "BACKGROUND_REMOVAL": ("backgroundRemovalParams", ("image",)),
    "VIRTUAL_TRY_ON": ("virtualTryOnParams", ("sourceImage", "referenceImage")),
}
WORDLESS = ("BACKGROUND_REMOVAL", "VIRTUAL_TRY_ON")
#: What Bedrock has no place for: a value that asks for something, and those that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    **{"stream": (True, (False, None)), "partial_images": (2, (0,)), "background": ("transparent", ("auto", "opaque"))},
    **{"moderation": ("low", ("auto",)), "output_compression": (50, (100,)), "input_fidelity": ("high", ("low",))},
}

words = st.text(min_size=1, max_size=20)
contents = st.from_regex(r"[a-z]{1,9}", fullmatch=True)
values = st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5)


def encoded(content: str) -> str:
    """Return base64 of a file."""
    return base64.b64encode(content.encode()).decode()


def made(model: str, /, **members: Any) -> Any:
    """Return the body for images out of words."""
    return json.loads(generation(model, **members).body)


def edited(model: str, /, *files: str, vary: bool = False, **members: str) -> Any:
    """Return the body for an edit or a variation."""
    return json.loads(edit(model, *files, vary=vary, **members).body)


def refused(param: str, call: Callable[..., object], *told: Any, **members: Any) -> None:
    """Assert that a member is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        call(*told, **members)
    assert param == caught.value.param


def answered(answer: dict[str, Any], relay: ImageRelay | None = None) -> Any:
    """Return what a caller is told for an answer of Bedrock's."""
    relay = relay or ImageRelay(5, None)
    return json.loads(relay.receive_data(json.dumps(answer).encode()) + relay.receive_eof())


def model(data: st.DataObject) -> None:
    name, leads_to = data.draw(words), data.draw(AMAZONS | MAKERS)
    path, body = "/openai/deployments/b/images/generations", json.dumps({"model": name, "prompt": "a"}).encode()
    azure = Asked(path=path, headers={}, body=body, drop_params=False, model_of=lambda name: leads_to)
    plain = generation(leads_to, model=name)
    assert ("b", name, "InvokeModel") == (read_generation(azure).model, plain.model, plain.operation)
    assert "model" not in json.loads(plain.body)
    refused("model", made, data.draw(st.sampled_from(["amazon.nova-pro-v1:0", "stability.stable-diffusion-xl-v1"])))


def task(data: st.DataObject) -> None:
    leads_to, asked = data.draw(AMAZONS), data.draw(st.sampled_from(sorted(TASKS)))
    assert "TEXT_IMAGE" == made(leads_to)["taskType"]
    for files, more in ((("image", "mask"), {}), (("image",), {"maskPrompt": "a"}), (("image",), {"mask_prompt": "a"})):
        assert "INPAINTING" == edited(leads_to, *files, **more)["taskType"]
    for vary in (False, True):
        told = edited(leads_to, "image", vary=vary)
        assert {"taskType": "IMAGE_VARIATION", "imageVariationParams": {"images": [encoded("image")]}} == told
    for name in ("taskType", "task_type"):
        for told in (made(leads_to, **{name: asked}), edited(leads_to, "image", **{name: asked})):
            assert {"taskType", TASKS[asked][0]} == told.keys()
            assert asked == told["taskType"]
    refused("model", edited, data.draw(MAKERS), "image", vary=True)


def prompt(data: st.DataObject) -> None:
    said, leads_to = data.draw(words), data.draw(AMAZONS)
    assert said == made(leads_to, prompt=said)["textToImageParams"]["text"]
    assert said == made(data.draw(MAKERS), prompt=said)["prompt"]
    # A figure stays a word, in a form as well.
    for line in (said, "5", "true", '"a"'):
        assert line == edited(leads_to, "image", prompt=line)["imageVariationParams"]["text"]
        assert line == edited(INPAINT, "image", prompt=line)["prompt"]
    for wordless in WORDLESS:
        assert "text" not in made(CANVAS, prompt=said, taskType=wordless)[TASKS[wordless][0]]


def negative_prompt(data: st.DataObject) -> None:
    said, leads_to = data.draw(words), data.draw(AMAZONS)
    assert said == made(leads_to, negative_prompt=said)["textToImageParams"]["negativeText"]
    assert said == edited(leads_to, "image", negative_prompt=said)["imageVariationParams"]["negativeText"]
    assert said == made(data.draw(MAKERS), negative_prompt=said)["negative_prompt"]
    assert said == edited(INPAINT, "image", negative_prompt=said)["negative_prompt"]


def n(data: st.DataObject) -> None:
    count, leads_to, maker = data.draw(st.integers(1, 5)), data.draw(AMAZONS), data.draw(MAKERS)
    for told in (made(leads_to, n=count), edited(leads_to, "image", n=str(count))):
        assert {"numberOfImages": count} == told["imageGenerationConfig"]
    refused("n", made, leads_to, n=data.draw(st.integers(6, 100) | st.integers(-5, 0)))
    assert made(maker) == made(maker, n=1) == made(maker, n=count, drop_params=True)
    removal = {"taskType": "BACKGROUND_REMOVAL"}
    assert edited(CANVAS, "image", **removal) == edited(CANVAS, "image", n="1", **removal)
    if count > 1:
        refused("n", made, maker, n=count)
        refused("n", edited, CANVAS, "image", n=str(count), **removal)


def size(data: st.DataObject) -> None:
    wide, high = data.draw(st.integers(1, 99999)), data.draw(st.integers(1, 99999))
    leads_to, maker, asked = data.draw(AMAZONS), data.draw(MAKERS), f"{wide}x{high}"
    for told in (made(leads_to, size=asked), edited(leads_to, "image", size=asked)):
        assert {"width": wide, "height": high} == told["imageGenerationConfig"]
    for told in (made(maker, size=asked), edited(STYLE_GUIDE, "image", size=asked)):
        across, down = map(int, told["aspect_ratio"].split(":"))
        ratios = [*((16, 9), (1, 1), (21, 9), (2, 3), (3, 2), (4, 5), (5, 4), (9, 16), (9, 21))]
        off = [abs(math.log(one / other) - math.log(wide / high)) for one, other in ratios]
        assert min(off) == pytest.approx(abs(math.log(across / down) - math.log(wide / high)))
    assert made(leads_to) == made(leads_to, size="auto")
    assert made(maker) == made(maker, size="auto")
    for editor, more in ((INPAINT, {}), (CANVAS, {"taskType": "BACKGROUND_REMOVAL"})):
        refused("size", edited, editor, "image", size=asked, **more)
        plain = edited(editor, "image", **more)
        assert plain == edited(editor, "image", size=asked, drop_params="true", **more)
    refused("size", made, leads_to, size=data.draw(st.sampled_from(["0x5", "5", "axb", "5x", "-5x5", "1e3x5", ""])))


def quality(data: st.DataObject) -> None:
    wanted = {
        **dict.fromkeys(("standard", "low", "medium"), "standard"),
        **dict.fromkeys(("hd", "high", "premium"), "premium"),
    }
    asked, leads_to, maker = data.draw(st.sampled_from(sorted(wanted))), data.draw(AMAZONS), data.draw(MAKERS)
    for told in (made(leads_to, quality=asked), edited(leads_to, "image", quality=asked)):
        assert {"quality": wanted[asked]} == told["imageGenerationConfig"]
    assert made(leads_to) == made(leads_to, quality="auto")
    refused("quality", made, leads_to, quality=data.draw(words.filter(lambda one: one not in (*wanted, "auto"))))
    assert made(maker) == made(maker, quality="auto") == made(maker, quality="standard")
    assert made(maker) == made(maker, quality=asked, drop_params=True)
    if asked != "standard":
        refused("quality", made, maker, quality=asked)
        refused("quality", edited, CANVAS, "image", quality=asked, taskType="BACKGROUND_REMOVAL")


def image(data: st.DataObject) -> None:
    told = data.draw(st.lists(contents, min_size=1, max_size=5))
    field = data.draw(st.sampled_from(["image", "image[]"]))
    files, wanted = [f"{field}:{one}" for one in told], [encoded(one) for one in told]
    assert wanted == edited(data.draw(AMAZONS), *files)["imageVariationParams"]["images"]
    refused("image", edited, CANVAS, *[f"{field}:a"] * 6)
    refused("image", edited, CANVAS)
    places: list[tuple[str, dict[str, str], str, tuple[str, ...]]] = [
        *((CANVAS, {"taskType": name}, member, names) for name, (member, names) in TASKS.items()),
        *((SD, {}, "", ("image",)), (ULTRA, {}, "", ("image",)), (INPAINT, {}, "", ("image",))),
        (TRANSFER, {}, "", ("init_image", "style_image")),
    ]
    for leads_to, more, member, names in places:
        if len(files) > len(names):
            refused("image", edited, leads_to, *files, **more)
        else:
            body = edited(leads_to, *files, **more)
            holder = body[member] if member else body
            assert wanted == [holder[name] for name in names if name in holder]


def mask(data: st.DataObject) -> None:
    painted = data.draw(contents)
    files = ("image", f"mask:{painted}")
    for asked in ("INPAINTING", "OUTPAINTING"):
        assert encoded(painted) == edited(CANVAS, *files, taskType=asked)[TASKS[asked][0]]["maskImage"]
    assert encoded(painted) == edited(INPAINT, *files)["mask"]
    for asked in (*TASKS.keys() - {"INPAINTING", "OUTPAINTING"}, "IMAGE_VARIATION"):
        refused("mask", edited, CANVAS, *files, taskType=asked)
    refused("mask", edited, data.draw(AMAZONS), *files, vary=True)
    refused("mask", edited, data.draw(st.sampled_from([SD, ULTRA])), *files)


def style(data: st.DataObject) -> None:
    leads_to, maker = data.draw(AMAZONS), data.draw(MAKERS)
    for asked in ("vivid", "natural"):
        for one in (leads_to, maker):
            refused("style", made, one, style=asked)
            assert made(one) == made(one, style=asked, drop_params=True)
    own = data.draw(words.filter(lambda one: one not in ("vivid", "natural")))
    assert own == made(leads_to, style=own)["textToImageParams"]["style"]
    kind = data.draw(st.sampled_from(["jpeg", "webp"]))
    refused("output_format", made, leads_to, output_format=kind)
    assert made(leads_to) == made(leads_to, output_format="png")
    assert kind == made(maker, output_format=kind)["output_format"]


def response_format(data: st.DataObject) -> None:
    leads_to = data.draw(AMAZONS | MAKERS)
    members = {"model": "m", "prompt": "a", "response_format": "url"}

    def keep(content: bytes, kind: str) -> str:
        return "url"

    body = json.dumps(members).encode()
    kept = Asked(path="", headers={}, body=body, drop_params=False, model_of=lambda name: leads_to, keep=keep)
    assert keep is read_generation(kept).keep
    assert generation(leads_to).keep is None
    assert generation(leads_to).body == generation(leads_to, response_format="b64_json").body
    refused("response_format", made, leads_to, response_format="url")
    refused("response_format", made, leads_to, response_format=data.draw(words))


def labels(data: st.DataObject) -> None:
    who, leads_to = data.draw(words), data.draw(AMAZONS | MAKERS)
    told = data.draw(st.lists(words, min_size=1, max_size=3))
    for more in ({"metadata": {"tags": told}}, {"tags": told}):
        for name in ("user", "safety_identifier"):
            one = generation(leads_to, **{name: who}, **more)
            assert (who, tuple(told)) == (one.end_user, one.tags)
            assert generation(leads_to).body == one.body
    for member in ("metadata[tags][]", "tags[]"):
        form = edit(SD, "image", user=who, **{member: told[0]})
        assert (who, (told[0],)) == (form.end_user, form.tags)
        assert edit(SD, "image").body == form.body


def others(data: st.DataObject) -> None:
    leads_to, value, maker = data.draw(AMAZONS), data.draw(values), data.draw(MAKERS)
    own = data.draw(st.from_regex(r"own[a-z]{1,5}", fullmatch=True))
    assert value == made(leads_to, **{own: value})["textToImageParams"][own]
    assert value == made(leads_to, textToImageParams={own: value})["textToImageParams"][own]
    assert value == made(maker, **{own: value})[own]
    for name in ("seed", "cfgScale", "width", "numberOfImages"):
        assert {name: value} == made(leads_to, **{name: value})["imageGenerationConfig"]
    assert {"cfgScale": value} == made(leads_to, cfg_scale=value)["imageGenerationConfig"]
    config = {"width": 5, "height": 7, own: value}
    assert config == made(leads_to, size="9x7", imageGenerationConfig={"width": 5, own: value})["imageGenerationConfig"]
    seed = data.draw(st.integers(0, 10**9))
    for member in ("seed", "imageGenerationConfig[seed]"):
        assert {"seed": seed} == edited(leads_to, "image", **{member: str(seed)})["imageGenerationConfig"]
    assert [seed] == edited(INPAINT, "image", **{f"{own}[]": str(seed)})[own]
    assert {"a": {"b": [seed]}} == edited(INPAINT, "image", **{f"{own}[a][b][]": str(seed)})[own]


def unsupported(data: st.DataObject) -> None:
    leads_to = data.draw(AMAZONS | MAKERS)
    chosen = data.draw(st.lists(st.sampled_from(sorted(UNSUPPORTED)), min_size=1, unique=True))
    asked = {name: UNSUPPORTED[name][0] for name in chosen}
    with pytest.raises(InvalidRequest) as caught:
        generation(leads_to, **asked)
    assert all(name in caught.value.message for name in chosen)
    assert caught.value.param in chosen
    assert made(leads_to) == made(leads_to, drop_params=True, **asked)
    assert made(leads_to) == made(
        leads_to, **{name: data.draw(st.sampled_from(UNSUPPORTED[name][1])) for name in chosen}
    )


def images(data: st.DataObject) -> None:
    told = data.draw(st.lists(contents.map(encoded), min_size=1, max_size=5))
    assert {"created": 5, "data": [{"b64_json": one} for one in told]} == answered({"images": told, "error": None})


def urls(data: st.DataObject) -> None:
    begins = {
        **{"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF89a"},
        **{"image/webp": b"RIFF\0\0\0\0WEBP", "application/octet-stream": b"<svg>"},
    }
    kinds = data.draw(st.lists(st.sampled_from(sorted(begins)), min_size=1, max_size=3))
    told = [(begins[kind] + data.draw(st.binary(max_size=5)), kind) for kind in kinds]
    kept: list[tuple[bytes, str]] = []

    def keep(content: bytes, kind: str) -> str:
        kept.append((content, kind))
        return f"https://gateway/{len(kept)}"

    answer = {"images": [base64.b64encode(content).decode() for content, _ in told]}
    found = answered(answer, ImageRelay(5, keep))["data"]
    assert [{"url": f"https://gateway/{at}"} for at in range(1, len(told) + 1)] == found
    assert told == kept


def blocked(data: st.DataObject) -> None:
    why = data.draw(words.filter(lambda one: one != "Inference error"))
    for told in ({"error": why}, {"finish_reasons": [None, why]}):
        assert why == answered({"images": ["YQ=="], **told})["blocked"]
        with pytest.raises(InvalidRequest) as caught:
            answered({"images": [], **told})
        assert why in caught.value.message
    assert "blocked" not in answered({"images": ["YQ=="], "finish_reasons": [None]})
    for told in ({}, {"finish_reasons": ["Inference error"]}):
        with pytest.raises(MaybeBilled):
            answered({"images": [], **told})


def other_members(data: st.DataObject) -> None:
    more = {"seeds": [data.draw(st.integers(0, 2**32))], "maskImage": data.draw(words)}
    assert answered({"images": ["YQ=="]}) == answered({"images": ["YQ=="], **more})


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__: check
    for check in (
        *(model, task, prompt, negative_prompt, n, size, quality, image, mask, style, response_format, labels),
        *(others, unsupported, images, urls, blocked, other_members),
    )
}


def test_every_row_has_its_check() -> None:
    """The table names every check, and nothing else."""
    assert list(CHECKS) == rows(SECTION)


@pytest.mark.parametrize("row", rows(SECTION))
@settings(max_examples=25)
@given(data=st.data())
def test_row(row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[row](data)
