"""Forms with files in them (``multipart/form-data``), out of a body that is all there.

Knows the framing, bounds how many parts there may be and how long their heads are, and copies no part. Must not know
what a field means.

Source: RFC 7578; RFC 2046 section 5.1.1 (boundaries); RFC 2183 (Content-Disposition); WHATWG HTML, "Multipart form
data" (how browsers escape names).
"""

from __future__ import annotations

from email.message import Message

import attrs

from bedrock_gateway.errors import InvalidRequest

__all__ = ["Part", "read_form"]

MOST_PARTS = 64
#: Bytes of one part's head.
LONGEST_HEAD = 8_192
_TYPE = "multipart/form-data"
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}


@attrs.frozen
class Part:
    """One field of a form.

    Attributes:
        name: of the field; content: its bytes; is_file: it came with a file name.
    """

    name: str
    content: memoryview = attrs.field(repr=False)
    is_file: bool


def read_form(content_type: str, body: bytes | bytearray) -> list[Part]:
    """Return the fields of a form, in their order.

    Raises:
        InvalidRequest: the body is none, or is cut off.
    """
    head = _head("content-type", content_type)
    boundary = head.get_boundary()
    if head.get_content_type() != _TYPE or not boundary or len(boundary) > 70 or not boundary.isascii():
        raise InvalidRequest(f"The body must be {_TYPE} with a boundary, as the Content-Type header says it.")
    delimiter = b"--" + boundary.encode("ascii")
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise _broken("its boundary is nowhere in it")
    view, parts = memoryview(body), list[Part]()
    while True:
        at += len(delimiter)
        if body.startswith(b"--", at):
            return parts
        line_end = body.find(b"\r\n", at, at + LONGEST_HEAD)
        if line_end < 0 or bytes(view[at:line_end]).strip(b" \t"):
            raise _broken("a boundary is not alone in its line")
        if len(parts) == MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} parts.")
        head_end = body.find(b"\r\n\r\n", line_end, line_end + LONGEST_HEAD)
        if head_end < 0:
            raise _broken("the head of a part does not end")
        content = head_end + 4
        at = body.find(b"\r\n" + delimiter, content)
        if at < 0:
            raise _broken("it ends in the middle of a part")
        parts.append(_part(bytes(view[line_end + 2 : head_end]), view[content:at]))
        at += 2


def _part(head: bytes, content: memoryview) -> Part:
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"content-disposition":
            told = _head("content-disposition", value.decode("utf-8", "replace").strip())
            field = told.get_param("name", header="content-disposition")
            if told.get_content_disposition() == "form-data" and isinstance(field, str) and field:
                for escaped, plain in _ESCAPED.items():
                    field = field.replace(escaped, plain)
                return Part(field, content, told.get_param("filename", header="content-disposition") is not None)
    raise _broken("a part has no name")


def _head(name: str, value: str) -> Message:
    message = Message()
    message[name] = value
    return message


def _broken(what: str) -> InvalidRequest:
    return InvalidRequest(f"The body is no form ({_TYPE}): {what}.")
