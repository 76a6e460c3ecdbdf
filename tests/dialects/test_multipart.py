"""Forms: every one is read as it was written, and none that is broken is read at all."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bedrock_gateway.dialects.openai.images.multipart import MOST_PARTS, read_form
from bedrock_gateway.errors import InvalidRequest

TYPE = "multipart/form-data; boundary=b"
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\\%"), min_size=1, max_size=9
)


def form(*parts: tuple[str, bytes, bool]) -> bytes:
    """Write a form with the boundary ``b``."""
    written = bytearray()
    for name, content, is_file in parts:
        more = '; filename="f.png"\r\nContent-Type: image/png' if is_file else ""
        field = name.replace('"', "%22")
        written += f'--b\r\nContent-Disposition: form-data; name="{field}"{more}\r\n\r\n'.encode() + content + b"\r\n"
    return bytes(written + b"--b--\r\n")


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40), st.booleans()), max_size=6))
@example([("image[]", b"", True), ('na"me; x=y', b"\r\n", False), ("n", b"\r\n--", False)])
def test_what_is_written_is_read(parts: list[tuple[str, bytes, bool]]) -> None:
    """Names, contents and whether they are files come out as they went in."""
    assume(all(b"\r\n--b" not in b"\r\n" + content and name.strip() == name for name, content, _ in parts))

    assert parts == [(part.name, bytes(part.content), part.is_file) for part in read_form(TYPE, form(*parts))]


@given(st.data(), st.binary(max_size=40))
def test_a_form_that_is_cut_off(data: st.DataObject, content: bytes) -> None:
    """Wherever it is cut before its end, it is refused."""
    assume(b"--b" not in content)
    whole = form(("image", content, True), ("prompt", b"x", False))
    cut = data.draw(st.integers(0, len(whole) - len(b"--\r\n") - 1))

    with pytest.raises(InvalidRequest):
        read_form(TYPE, whole[:cut])


@given(
    st.sampled_from([TYPE, "", "text/plain", "multipart/form-data", 'multipart/form-data; boundary="b']), st.binary()
)
@example(TYPE, b"--b\r\n\r\n\r\n--b--")
@example(TYPE, b"--bx\r\n\r\n--b--")
@example(TYPE, b"--b\r\nContent-Disposition: attachment; name=x\r\n\r\n\r\n--b--")
def test_garbage(content_type: str, body: bytes) -> None:
    """Whatever comes is a form or refused."""
    try:
        read_form(content_type, body)
    except InvalidRequest:
        pass


def test_too_many_parts() -> None:
    """There is an end to how many fields are read."""
    with pytest.raises(InvalidRequest, match=f"more than {MOST_PARTS} parts"):
        read_form(TYPE, form(*[("n", b"1", False)] * (MOST_PARTS + 1)))


async def test_as_aiohttp_writes_it() -> None:
    """A preamble, other headers and a quoted boundary change nothing."""
    with aiohttp.MultipartWriter("form-data", boundary="a b") as writer:
        part = writer.append(b"\x00\x01")
        part.set_content_disposition("form-data", name="image", filename="a.png")
        part = writer.append("words")
        part.set_content_disposition("form-data", name="prompt")
    body = b"preamble\r\n" + await writer.as_bytes()

    read = read_form(writer.headers["content-type"], bytearray(body))
    assert [("image", b"\x00\x01", True), ("prompt", b"words", False)] == [
        (part.name, bytes(part.content), part.is_file) for part in read
    ]
