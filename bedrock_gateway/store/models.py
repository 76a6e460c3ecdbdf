"""Models added over the API, as rows: what is written, read and taken away, and their secrets sealed.

Runs on a plain connection inside the registry's transactions. Knows which parameters are secrets; whether a model is
right was looked at before (``config.added``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from bedrock_gateway.config.added import SECRET_PARAMS
from bedrock_gateway.config.reading import ENVIRON
from bedrock_gateway.errors import Conflict, InvalidField, NotFound, StoreError
from bedrock_gateway.store.sealing import Sealer, is_sealed
from bedrock_gateway.store.subjects import Subject, delete, get, get_many, insert, select, update

__all__ = [
    "KIND",
    "add_model",
    "open_secrets",
    "read_models",
    "remove_model",
    "replace_model",
    "seal_secrets",
    "unknown_model",
]

KIND = "model"

NO_ROOT = (
    "holds a secret, and there is no root secret to encrypt it with. Whoever runs the gateway sets "
    "BEDROCK_GATEWAY_SECRET (openssl rand -hex 32) and restarts it; or the model is added without keys of its own and "
    "uses the gateway's"
)


def read_models(connection: sqlite3.Connection, ids: Collection[str] | None = None) -> list[Subject]:
    """Return the models there are, or those of some ids, the oldest first."""
    if ids is None:
        return select(connection, "kind = ? ORDER BY created_at, id", (KIND,))
    return sorted(get_many(connection, KIND, ids).values(), key=lambda subject: (subject.created_at, subject.id))


def add_model(connection: sqlite3.Connection, subject: Subject) -> None:
    """Write a new model.

    Raises:
        Conflict: its id is taken.
    """
    if get(connection, KIND, subject.id) is not None:
        raise Conflict("model_info.id", f"model_info.id: there is a model {subject.id!r} already")
    insert(connection, subject)


def replace_model(connection: sqlite3.Connection, before: Subject, after: Subject) -> None:
    """Write a model over what it was when it was read.

    Raises:
        NotFound: it is gone.
        Conflict: somebody else changed it meanwhile.
    """
    found = get(connection, KIND, before.id)
    if found is None:
        raise unknown_model(before.id)
    if found != before:
        raise Conflict("model_info.id", f"Model {before.id!r} was changed by somebody else meanwhile; ask again.")
    update(connection, after)


def remove_model(connection: sqlite3.Connection, id_: str, now_ms: int) -> None:
    """Take a model away.

    Raises:
        NotFound: there is none.
    """
    if get(connection, KIND, id_) is None:
        raise unknown_model(id_)
    delete(connection, KIND, id_, now_ms)


def unknown_model(id_: str) -> NotFound:
    """Return the refusal of an id that no model added over the API has."""
    return NotFound("id", f"No model with the id {id_[:200]!r} was added over the API.")


def seal_secrets(document: Mapping[str, Any], sealer: Sealer | None) -> dict[str, Any]:
    """Return a document as it is stored: its secrets sealed for this model and their parameter.

    Args:
        document: one that was found right, with its id in ``model_info``.
        sealer: None where there is no root secret.

    Raises:
        InvalidField: there are secrets, and no root secret.
    """
    id_ = document["model_info"]["id"]
    params = dict(document["litellm_params"])
    for key, value in params.items():
        if key in SECRET_PARAMS and value is not None and not _is_reference(value):
            if sealer is None:
                raise InvalidField(f"litellm_params.{key}", NO_ROOT)
            params[key] = sealer.seal(json.dumps(value), (id_, key))
    return {**document, "litellm_params": params}


def open_secrets(document: Mapping[str, Any], sealer: Sealer | None) -> dict[str, Any]:
    """Return a stored document with its secrets readable.

    Args:
        sealer: None where there is no root secret.

    Raises:
        StoreError: naming the parameter that cannot be opened.
    """
    opened = dict(document)
    params = document.get("litellm_params")
    if isinstance(params, Mapping):
        id_ = document["model_info"]["id"]
        opened["litellm_params"] = {
            key: _opened(value, id_, key, sealer) if is_sealed(value) and key in SECRET_PARAMS else value
            for key, value in params.items()
        }
    return opened


def _opened(value: object, id_: str, key: str, sealer: Sealer | None) -> object:
    if sealer is None:
        raise StoreError(f"{key} cannot be read: it is encrypted, and there is no root secret")
    try:
        return json.loads(sealer.open(value, (id_, key)))
    except StoreError as error:
        raise StoreError(f"{key} cannot be read: {error}") from None


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith(ENVIRON)
