"""Requests of OpenAI's images: in JSON to make them, in forms to edit and to vary them; as requests of InvokeModel.

Knows OpenAI's members. What each model takes is known to ``images.models``; what is neither goes to the model as it is.

Source: OpenAI API reference, "Create image", "Create image edit", "Create image variation"; openai-python ``images``
(``image[]`` for several) and ``_qs`` (``a[b][]`` for what is nested); LiteLLM 1.109 for members beyond OpenAI's.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

import attrs

from bedrock_gateway.dialects.fields import boolean, integer, one_of, text, written, wrong
from bedrock_gateway.dialects.openai.images.answer import ImageRelay, Keep
from bedrock_gateway.dialects.openai.images.models import Aim, Wish, family_of
from bedrock_gateway.dialects.openai.images.multipart import read_form
from bedrock_gateway.dialects.openai.members import members_of, take_labels
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Relay, Translation
from bedrock_gateway.errors import InvalidRequest

__all__ = ["ImageTranslation", "read_edit", "read_generation", "read_variation"]

#: Images a request may hand in: as many as one of the models here takes.
MOST_HANDED_IN = 5
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
#: Members of a form that are text whatever they look like; others that look like a figure are one.
_TEXTS = frozenset(
    {"model", "prompt", "negative_prompt", "negativeText", "user", "safety_identifier", "size", "quality"}
)
_TEXTS |= {"response_format", "style", "search_prompt", "select_prompt", "maskPrompt", "mask_prompt", "text", "tags[]"}
#: The name of a form's field that stands in others.
_NESTED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)(\[\])?")
#: Members that Bedrock has no place for, and the values of them that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "stream": (False,),
    "partial_images": (0,),
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
    "output_compression": (100,),
    "input_fidelity": ("low",),
}


@attrs.frozen(kw_only=True)
class ImageTranslation(Translation):
    """A request for images in the words of a model; as ``speech.Translation``.

    Attributes:
        keep: keeps an image and gives its URL; None where images are given as they are.
    """

    keep: Keep | None = None

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        return ImageRelay(now, self.keep)


def read_generation(request: Asked) -> ImageTranslation:
    """Read a request to make images.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that there is no place for.
    """
    asked = members_of(read_body(request.body), request.path)
    if not text(asked.get("prompt"), "prompt"):
        wrong("prompt", "must say what the image is to show")
    return _translation(request, Aim.GENERATE, asked, (), b"")


def read_edit(request: Asked) -> ImageTranslation:
    """Read a request to edit an image: a form.

    Raises:
        InvalidRequest: as ``read_generation``.
    """
    return _translation(request, Aim.EDIT, *_form(request))


def read_variation(request: Asked) -> ImageTranslation:
    """Read a request to vary an image: a form.

    Raises:
        InvalidRequest: as ``read_generation``.
    """
    return _translation(request, Aim.VARY, *_form(request))


def _form(request: Asked) -> tuple[dict[str, Any], tuple[str, ...], bytes]:
    """Return the members of a form, its images and its mask."""
    asked: dict[str, Any] = {}
    images: list[str] = []
    mask = b""
    for part in read_form(request.headers.get("Content-Type", ""), request.body):
        name = part.name
        if name in ("image", "image[]", "mask") and not part.content:
            wrong(name.removesuffix("[]"), "must not be empty")
        if name in ("image", "image[]"):
            if len(images) == MOST_HANDED_IN:
                wrong("image", f"must be {MOST_HANDED_IN} or fewer")
            images.append(base64.b64encode(part.content).decode())
        elif name == "mask":
            mask = bytes(part.content)
        elif part.is_file:
            # An image that only the model has a name for.
            _put(asked, name, base64.b64encode(part.content).decode())
        else:
            _put(asked, name, _value(name, bytes(part.content)))
    if not images:
        wrong("image", "must be handed in, as a file of the form")
    return members_of(asked, request.path), tuple(images), mask


def _put(asked: MutableMapping[str, Any], field: str, value: object) -> None:
    """Put a field where its name says: ``a[b]`` is b in the object a, ``a[]`` one of the list a."""
    found = _NESTED.fullmatch(field)
    if found is None:
        wrong(field, "is no name of a field: lists of objects must be told in JSON")
    *outer, name = [found[1], *found[2][1:-1].split("][")] if found[2] else [found[1]]
    holder = asked
    for one in outer:
        holder = holder.setdefault(one, {})
        if not isinstance(holder, dict):
            wrong(field, f"cannot stand in {one}, which is told as another value")
    if not found[3]:
        holder[name] = value
    elif isinstance(several := holder.setdefault(name, []), list):
        several.append(value)
    else:
        wrong(field, f"cannot stand in {name}, which is told as another value")


def _value(name: str, content: bytes) -> Any:
    try:
        value = content.decode()
    except UnicodeDecodeError:
        wrong(name, "must be text in UTF-8")
    # What it is called in the object that it stands in.
    bare = name.removesuffix("[]")
    if bare.rpartition("[")[2].rstrip("]") + name[len(bare) :] in _TEXTS:
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if isinstance(found, str) else found


def _translation(
    request: Asked, aim: Aim, asked: dict[str, Any], images: tuple[str, ...], mask: bytes
) -> ImageTranslation:
    model = model_named(asked)
    del asked["model"]
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    keep = request.keep if _wants_url(asked.pop("response_format", "b64_json"), request.keep) else None
    end_user, tags = take_labels(asked)
    model_id = request.model_of(model)
    family = family_of(model_id)
    if family is None:
        wrong(
            "model",
            f"leads to {model_id}, of which is not known here that it makes images (Nova Canvas, Titan Image Generator "
            "and Stability AI's do; what is behind an ARN, model_info.base_model can say)",
        )
    left_out = {
        name: "there is nothing like it"
        for name, idle in _UNSUPPORTED.items()
        if name in asked and asked[name] not in idle
    }
    for name in _UNSUPPORTED:
        asked.pop(name, None)
    wish = Wish(
        aim=aim,
        prompt=text(asked.pop("prompt", ""), "prompt"),
        negative=text(asked.pop("negative_prompt", ""), "negative_prompt"),
        count=integer(asked.pop("n"), "n", 1) if "n" in asked else None,
        size=_size(asked.pop("size", "auto")),
        quality=text(asked.pop("quality", "auto"), "quality"),
        images=images,
        mask=mask,
        others=asked,
    )
    body, more = family.body(wish)
    left_out |= more
    if left_out and not drop_params:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InvalidRequest(
            f"This cannot be asked of {model}: {told}. Leave {'it' if len(left_out) == 1 else 'them'} out, or let the "
            "gateway do so (drop_params: true, in the request or under litellm_settings).",
            param=next(iter(left_out)),
        )
    return ImageTranslation(
        model=model,
        operation="InvokeModel",
        body=written(body),
        end_user=end_user,
        tags=tags,
        keep=keep,
    )


def _wants_url(told: object, keep: Keep | None) -> bool:
    wanted = one_of(told, "response_format", ("b64_json", "url")) == "url"
    if wanted and keep is None:
        wrong("response_format", "must be b64_json: nothing is kept here")
    return wanted


def _size(told: object) -> tuple[int, int] | None:
    size = text(told, "size")
    if size == "auto":
        return None
    found = _SIZE.fullmatch(size)
    if found is None:
        wrong("size", "must be auto or WIDTHxHEIGHT in pixels, as 1024x1024")
    return int(found[1]), int(found[2])
