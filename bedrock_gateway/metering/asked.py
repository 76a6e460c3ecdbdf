"""What a request tells of its bill that no answer tells: size and quality of images, documents to rank, pictures
handed in.

Read only where a model is priced by such units, after the answer; a chat's body is never parsed for it.

Source: AWS user guide, request bodies of Nova Canvas and Titan Image Generator (``imageGenerationConfig``: quality
``standard`` and 1024 × 1024 where not given), SDXL (``steps``), Cohere and Amazon Rerank (``documents``; a query ranks
up to 100 document chunks), Titan Multimodal Embeddings (``inputImage``), Nova embeddings (``singleEmbeddingParams``),
TwelveLabs Marengo (``inputType``) and Pegasus (``mediaSource``).
"""

from __future__ import annotations

import json
from typing import Any

import attrs

__all__ = ["Asked", "read_request"]

#: Document chunks one query of a reranking model covers.
CHUNKS_PER_QUERY = 100
#: Images one request can ask for: Nova Canvas and Titan make up to 5, SDXL up to 10.
MAX_IMAGES = 10
#: Sizes with prices of their own: the longer side in pixels.
_SIZES = (512, 1024, 2048)
#: What Marengo and Nova call a recording.
_RECORDINGS = frozenset(["video", "audio"])
#: SDXL's prices change above this many steps.
_FEW_STEPS = 50


@attrs.frozen(kw_only=True)
class Asked:
    """Units a request asks for; as it stands, those of a request nobody could read.

    Attributes:
        images: images to make.
        image_class: SIZE-QUALITY as in ``prices.yaml``.
        queries: queries of a reranking or embedding model.
        input_images: pictures handed in.
        recording: a video or a sound is handed in, whose seconds neither request nor answer tells.
    """

    images: int = 1
    image_class: str = "default"
    queries: int = 1
    input_images: int = 0
    recording: bool = False


def read_request(body: bytes | bytearray) -> Asked:
    """Read the body of an InvokeModel request; what it does not tell, or tells in another type, is as if it were
    absent.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return Asked()
    if type(request) is not dict:
        return Asked()
    config = request.get("imageGenerationConfig")
    if type(config) is not dict:
        config = request
    documents = request.get("documents")
    chunks = len(documents) if type(documents) is list else 1
    # Marengo says what it embeds ("text", "image", "text_image", "video", "audio"), Nova names a member after it.
    kind = request.get("inputType", "text")
    kind = kind if type(kind) is str else "text"
    embedded = request.get("singleEmbeddingParams")
    embedded = embedded if type(embedded) is dict else {}
    return Asked(
        images=_count(config.get("numberOfImages", request.get("samples")), 1, MAX_IMAGES),
        image_class=_image_class(config, request),
        queries=-(-max(chunks, 1) // CHUNKS_PER_QUERY) if "text" in kind else 0,
        input_images=int(bool(request.get("inputImage")) or "image" in kind or "image" in embedded),
        recording=kind in _RECORDINGS or not _RECORDINGS.isdisjoint(embedded) or "mediaSource" in request,
    )


def _image_class(config: dict[str, Any], request: dict[str, Any]) -> str:
    sdxl = "text_prompts" in request
    side = 512 if sdxl else 1024
    longer = max(_count(config.get("width"), side, 10_000), _count(config.get("height"), side, 10_000))
    size = next((size for size in _SIZES if longer <= size), _SIZES[-1])
    if sdxl:
        return f"{size}-{'50' if _count(request.get('steps'), _FEW_STEPS, 1000) <= _FEW_STEPS else 'max'}-steps"
    return f"{size}-{'premium' if config.get('quality') == 'premium' else 'standard'}"


def _count(value: object, default: int, most: int) -> int:
    return min(value, most) if type(value) is int and value > 0 else default
