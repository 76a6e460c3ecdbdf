"""Image models: Nova Canvas and Titan Image, Stability. Pictures are real PNGs of the size asked for, a few kilobytes
each.

Source: PNG specification (second edition), sections 5 and 11: signature, IHDR, PLTE, IDAT, IEND.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from typing import Any

from bedrock_gateway.simulator.conversation import mapping
from bedrock_gateway.simulator.counting import encode
from bedrock_gateway.simulator.families.shapes import PlainFamily, malformed
from bedrock_gateway.simulator.models import Model
from bedrock_gateway.simulator.protocol import require

__all__ = ["CANVAS", "STABILITY", "png"]

MAX_IMAGES = 5
MAX_SIDE = 4_096
TASKS = {
    "TEXT_IMAGE": "textToImageParams",
    "COLOR_GUIDED_GENERATION": "colorGuidedGenerationParams",
    "IMAGE_VARIATION": "imageVariationParams",
    "INPAINTING": "inPaintingParams",
    "OUTPAINTING": "outPaintingParams",
    "BACKGROUND_REMOVAL": "backgroundRemovalParams",
    "VIRTUAL_TRY_ON": "virtualTryOnParams",
}
RATIOS = {"16:9": (1344, 768), "21:9": (1536, 640), "2:3": (832, 1216), "3:2": (1216, 832), "9:16": (768, 1344)}


def png(width: int, height: int, digest: bytes) -> bytes:
    """Draw stripes in two colours taken from a digest: one bit a pixel, so that a megapixel stays small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes([digest[6]]) * -(-width // 8)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
            chunk(b"PLTE", digest[:6]),
            chunk(b"IDAT", zlib.compress(row * height, 9)),
            chunk(b"IEND", b""),
        )
    )


def _drawn(width: int, height: int, seed: int, what: str) -> str:
    return base64.b64encode(png(width, height, hashlib.sha256(encode(f"{seed}:{what}")).digest())).decode()


def _side(value: Any, name: str) -> int:
    if value is None:
        return 1_024
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE
    require(good, f"{name}: must be between 1 and {MAX_SIDE}.")
    return int(value)


def canvas(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Nova Canvas and Titan Image."""
    task = body.get("taskType")
    if task is None:
        raise malformed("#: required key [taskType] not found")
    require(isinstance(task, str) and task in TASKS, f"taskType: unknown task {task}.")
    parameters = mapping(body.get(TASKS[str(task)]), TASKS[str(task)])
    require(bool(parameters), f"{TASKS[str(task)]}: is required for {task}.")
    if task == "TEXT_IMAGE":
        require(isinstance(parameters.get("text"), str), "textToImageParams.text: is required.")
    config = mapping(body.get("imageGenerationConfig"), "imageGenerationConfig")
    number = config.get("numberOfImages", 1)
    good = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_IMAGES
    require(good, f"imageGenerationConfig.numberOfImages: must be between 1 and {MAX_IMAGES}.")
    width = _side(config.get("width"), "imageGenerationConfig.width")
    height = _side(config.get("height"), "imageGenerationConfig.height")
    images = [_drawn(width, height, seed, f"{index}:{config.get('seed')}:{parameters}") for index in range(number)]
    return {"images": images, "error": None}, None


def stability(model: Model, body: dict[str, Any], seed: int) -> tuple[dict[str, Any], int | None]:
    """Answer Stability's models, of the present (``prompt``) and of SDXL (``text_prompts``)."""
    older = body.get("text_prompts")
    if isinstance(older, list) and older:
        prompt: Any = mapping(older[0], "text_prompts").get("text")
    else:
        prompt = body.get("prompt")
    # Upscaling, removing and the like work on an image and need no words.
    edits = any(isinstance(body.get(name), str) for name in ("image", "init_image"))
    if prompt is None and edits:
        prompt = ""
    if not isinstance(prompt, str):
        raise malformed("#: required key [prompt] not found")
    require(bool(prompt) or edits, "prompt: must not be empty.")
    picture_seed = body.get("seed") or int.from_bytes(hashlib.sha256(encode(prompt)).digest()[:4], "big")
    if older:
        width, height = _side(body.get("width"), "width"), _side(body.get("height"), "height")
        artifact = {
            "seed": picture_seed,
            "base64": _drawn(width, height, seed, f"{picture_seed}:{prompt}"),
            "finishReason": "SUCCESS",
        }
        return {"result": "success", "artifacts": [artifact]}, None
    width, height = RATIOS.get(str(body.get("aspect_ratio")), (1_024, 1_024))
    picture = _drawn(width, height, seed, f"{picture_seed}:{prompt}")
    return {"seeds": [picture_seed], "finish_reasons": [None], "images": [picture]}, None


CANVAS = PlainFamily(answer=canvas)
STABILITY = PlainFamily(answer=stability)
