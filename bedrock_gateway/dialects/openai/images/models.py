"""Requests for images in the words of the models that make them: Amazon's (Nova Canvas, Titan Image Generator), and
those of Stability AI with its services that edit.

Knows what each takes. Must not know OpenAI's members, files or deployments.

Source: Nova user guide, "Image generation and editing"; Bedrock user guide, "Titan Image Generator models", "Stability
AI models" (Stable Diffusion 3.5 Large, Stable Image Ultra and Core, Stability AI Image Services).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

import attrs

from bedrock_gateway.dialects.fields import Block, mapping, one_of, wrong
from bedrock_gateway.dialects.openai.images.masks import in_black_and_white

__all__ = ["Aim", "Family", "Wish", "family_of"]


#: Images one request of Amazon's models makes at most.
MOST_IMAGES = 5
#: Where each task of Amazon's models is told, and where in it the images that are handed in.
_TASKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "TEXT_IMAGE": ("textToImageParams", ("conditionImage",)),
    "COLOR_GUIDED_GENERATION": ("colorGuidedGenerationParams", ("referenceImage",)),
    "IMAGE_VARIATION": ("imageVariationParams", ()),
    "INPAINTING": ("inPaintingParams", ("image",)),
    "OUTPAINTING": ("outPaintingParams", ("image",)),
    "BACKGROUND_REMOVAL": ("backgroundRemovalParams", ("image",)),
    "VIRTUAL_TRY_ON": ("virtualTryOnParams", ("sourceImage", "referenceImage")),
}
#: Tasks of which a mask says what is to change.
_MASKED = ("INPAINTING", "OUTPAINTING")
#: Tasks that no words say more of.
_WORDLESS = frozenset({"BACKGROUND_REMOVAL", "VIRTUAL_TRY_ON"})
_CONFIG = frozenset({"width", "height", "quality", "cfgScale", "seed", "numberOfImages"})
#: What Amazon's models call what others write with an underscore.
_SPELT = {"cfg_scale": "cfgScale", "mask_prompt": "maskPrompt", "task_type": "taskType"}
_QUALITIES = {
    "standard": "standard",
    "low": "standard",
    "medium": "standard",
    "premium": "premium",
    "hd": "premium",
    "high": "premium",
}
#: OpenAI's, which no model here knows.
_STYLES = ("vivid", "natural")
_RATIOS = {f"{wide}:{high}": wide / high for wide, high in ((16, 9), (1, 1), (21, 9), (2, 3), (3, 2), (4, 5), (5, 4))}
_RATIOS |= {f"{wide}:{high}": wide / high for wide, high in ((9, 16), (9, 21))}


class Aim(StrEnum):
    """What is to be done."""

    GENERATE = "generations"
    EDIT = "edits"
    VARY = "variations"


@attrs.frozen(kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        prompt, negative: words, or ""; count: images to make, or None; size: pixels, or None.
        quality: as it was asked for, or "auto"; images: base64.
        mask: what of the image is to be changed, as it was handed in; empty for none.
        others: further members, the model's own.
    """

    aim: Aim
    prompt: str = ""
    negative: str = ""
    count: int | None = None
    size: tuple[int, int] | None = None
    quality: str = "auto"
    images: tuple[str, ...] = attrs.field(default=(), repr=False)
    mask: bytes = attrs.field(default=b"", repr=False)
    others: Mapping[str, Any] = attrs.field(factory=dict)


class Family(Protocol):
    """Models that are asked in one way."""

    def body(self, wish: Wish) -> tuple[Block, dict[str, str]]:
        """Return the body of a request, and by OpenAI's names what it has no place for, with the reason.

        Raises:
            InvalidRequest: naming what these models never do.
        """


def family_of(model_id: str) -> Family | None:
    """Return how a model is asked for images; None where it makes none, or is not known."""
    if "amazon.nova-canvas" in model_id or "amazon.titan-image-generator" in model_id:
        return _Canvas()
    name = model_id.rpartition("stability.")[2] if "stability." in model_id else ""
    # SDXL has a shape of its own, and Bedrock serves it no more.
    return _Stability(name) if name and not name.startswith("stable-diffusion-xl") else None


class _Canvas:
    """Nova Canvas and Titan Image Generator: a task with parameters, and a config that all tasks have."""

    def body(self, wish: Wish) -> tuple[Block, dict[str, str]]:
        """As ``Family``."""
        others = {_SPELT.get(name, name): value for name, value in wish.others.items()}
        task = one_of(others.pop("taskType", _task(wish, others)), "taskType", tuple(_TASKS))
        member, places = _TASKS[task]
        params: Block = {}
        if task not in _WORDLESS:
            params |= {"text": wish.prompt} if wish.prompt else {}
            params |= {"negativeText": wish.negative} if wish.negative else {}
        if task == "IMAGE_VARIATION":
            params["images"] = list(wish.images)
        elif len(wish.images) > len(places):
            wrong("image", f"must be at most {len(places)} for {task}")
        else:
            params |= dict(zip(places, wish.images, strict=False))
        if wish.mask:
            if task not in _MASKED:
                wrong("mask", f"has no place in {task}, only in {' and '.join(_MASKED)}")
            # What is painted inside is black, what is painted outside is white.
            params["maskImage"] = _mask(wish.mask, changed=255 if task == "OUTPAINTING" else 0)
        left_out = {}
        if task == "BACKGROUND_REMOVAL":
            # The one task that has no config.
            config: Block = {}
            if (wish.count or 1) > 1:
                left_out["n"] = f"{task} makes one image a request"
            if wish.size is not None:
                left_out["size"] = "the answer has the size of what is handed in"
            if wish.quality not in ("auto", "standard"):
                left_out["quality"] = f"{task} has one quality"
        else:
            config = self._config(wish)
        if others.get("style") in _STYLES:
            left_out["style"] = "the model has other styles than OpenAI's"
            del others["style"]
        if others.pop("output_format", "png") != "png":
            left_out["output_format"] = "the model makes PNG only"
        config |= mapping(others.pop("imageGenerationConfig", {}), "imageGenerationConfig")
        params |= mapping(others.pop(member, {}), member)
        for name, value in others.items():
            (config if name in _CONFIG else params)[name] = value
        body: Block = {"taskType": task, member: params}
        return body | ({"imageGenerationConfig": config} if config else {}), left_out

    def _config(self, wish: Wish) -> Block:
        config: Block = {}
        if wish.count is not None:
            if wish.count > MOST_IMAGES:
                wrong("n", f"must be {MOST_IMAGES} or less for this model")
            config["numberOfImages"] = wish.count
        if wish.size is not None:
            config["width"], config["height"] = wish.size
        if wish.quality != "auto":
            config["quality"] = _QUALITIES[one_of(wish.quality, "quality", ("auto", *_QUALITIES))]
        return config


def _task(wish: Wish, others: Mapping[str, Any]) -> str:
    if wish.aim is Aim.GENERATE:
        return "TEXT_IMAGE"
    if wish.aim is Aim.EDIT and (wish.mask or "maskPrompt" in others):
        return "INPAINTING"
    # Without a mask an edit is an image in the likeness of others, led by words.
    return "IMAGE_VARIATION"


@attrs.frozen
class _Stability:
    """A model of Stability AI, or one of its services that edit.

    Attributes:
        name: of the model, as it stands behind ``stability.``.
    """

    name: str

    def body(self, wish: Wish) -> tuple[Block, dict[str, str]]:
        """As ``Family``."""
        generates = self.name.startswith(("sd3", "stable-image-ultra", "stable-image-core"))
        if wish.aim is Aim.VARY:
            wrong("model", f"{self.name} makes no variations; ask for an edit (/v1/images/edits), with words")
        if wish.aim is Aim.GENERATE and not generates:
            wrong("model", f"{self.name} edits images and makes none out of words alone: ask under /v1/images/edits")
        if wish.aim is Aim.EDIT and self.name.startswith("stable-image-core"):
            wrong("model", f"{self.name} makes images out of words alone: ask under /v1/images/generations")
        if wish.mask and generates:
            wrong("mask", f"has no place in {self.name}, which makes the whole image anew; its service to inpaint has")
        places = ("init_image", "style_image") if "style-transfer" in self.name else ("image",)
        if len(wish.images) > len(places):
            wrong("image", f"must be at most {len(places)} for {self.name}")
        body: Block = {"prompt": wish.prompt} if wish.prompt else {}
        body |= {"negative_prompt": wish.negative} if wish.negative else {}
        body |= dict(zip(places, wish.images, strict=False))
        body |= {"mask": _mask(wish.mask, changed=255)} if wish.mask else {}
        if wish.images and self.name.startswith("sd3"):
            body["mode"] = "image-to-image"
        left_out = {}
        if wish.size is not None:
            if wish.aim is Aim.GENERATE or "style-guide" in self.name:
                body["aspect_ratio"] = _nearest(*wish.size)
            else:
                left_out["size"] = "the answer has the size of what is handed in"
        if (wish.count or 1) > 1:
            left_out["n"] = f"{self.name} makes one image a request; ask several times"
        if wish.quality not in ("auto", "standard"):
            left_out["quality"] = f"{self.name} has one quality"
        others = dict(wish.others)
        if others.get("style") in _STYLES:
            left_out["style"] = "the model has no styles of OpenAI's"
            del others["style"]
        return {**body, **others}, left_out


def _mask(mask: bytes, *, changed: int) -> str:
    return base64.b64encode(in_black_and_white(mask, changed=changed)).decode()


def _nearest(width: int, height: int) -> str:
    """Return the ratio of Stability's nearest to a size."""
    ratio = math.log(width / height)
    return min(_RATIOS, key=lambda name: abs(math.log(_RATIOS[name]) - ratio))
