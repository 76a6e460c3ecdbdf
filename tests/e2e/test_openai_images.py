"""OpenAI's images through the real SDK, on the whole chain."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from budgeted import Wall
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Running, running
from scripted_upstream import Asked, Script, scripted

from bedrock_gateway.simulator.families.pictures import png

CANVAS, SD, REMOVER = (
    "amazon.nova-canvas-v1:0",
    "stability.sd3-5-large-v1:0",
    "stability.stable-image-remove-background-v1:0",
)
THROUGHPUT = "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl"
IMAGE = png(64, 64, bytes(7))


def entry(group: str, model: str, more: str = "") -> str:
    """Return an entry of a model list."""
    return (
        f"  - model_name: {group}\n    litellm_params: {{model: bedrock/{model}, aws_region_name: us-east-1, "
        "max_retries: 0, aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, "
        f'aws_bedrock_endpoint: "%(url)s", aws_bedrock_runtime_endpoint: "%(url)s"{more}}}\n'
    )


MODELS = "model_list:\n" + entry("canvas", CANVAS) + entry("sd", SD) + entry("remover", REMOVER)
MODELS += entry("titan", "amazon.titan-image-generator-v2:0") + entry("nova", "amazon.nova-lite-v1:0")
MODELS += entry("reserved", CANVAS, f', model_id: "{THROUGHPUT}"')


def sdk(here: Running) -> openai.AsyncOpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=0))


def sent(here: Running) -> list[Any]:
    """Return the bodies that went upstream."""
    return [json.loads(received.body) for received in here.simulator.received]


async def fetch(url: str, **headers: str) -> tuple[int, Any, bytes]:
    """Get a URL without any key; return status, headers and body."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_images_as_they_are(tmp_path: Path) -> None:
    """Two images of a size and a quality come in base64, and are booked at the price of that size and quality."""
    async with running(tmp_path, MODELS) as here, sdk(here) as client:
        told = await client.images.with_raw_response.generate(
            model="canvas",
            prompt="a cat",
            n=2,
            size="512x768",
            quality="hd",
            user="ann",
            extra_body={"negative_prompt": "dogs", "seed": 7, "cfgScale": 6.5, "style": "PHOTOREALISM"},
        )
        answer = told.parse()
        await here.settled()

        assert answer.data is not None and answer.created > 1_700_000_000
        sizes = [struct.unpack(">II", base64.b64decode(one.b64_json or "")[16:24]) for one in answer.data]
        assert [(512, 768), (512, 768)] == sizes
        assert {
            "taskType": "TEXT_IMAGE",
            "textToImageParams": {"text": "a cat", "negativeText": "dogs", "style": "PHOTOREALISM"},
            "imageGenerationConfig": {
                **{"numberOfImages": 2, "width": 512, "height": 768, "quality": "premium"},
                **{"seed": 7, "cfgScale": 6.5},
            },
        } == sent(here)[0]
        assert "0.120000000" == told.headers["x-bedrock-gateway-spend-usd"]
        assert [(2, 120_000_000, "metered", CANVAS)] == [
            tuple(row.values()) for row in here.rows("SELECT images, spend, state, model FROM attempts")
        ]
        assert [{"dialect": "openai", "operation": "InvokeModel"}] == here.rows("SELECT dialect, operation FROM calls")


async def test_images_as_urls(tmp_path: Path) -> None:
    """A URL has the image for ten minutes, for whoever has it, pages of other sites included; then nothing has it."""
    wall = Wall(1_790_000_000_000)
    async with running(tmp_path, MODELS, clock=wall.clock()) as here, sdk(here) as client:
        answer = await client.images.generate(model="titan", prompt="a cat", n=2, response_format="url")
        assert answer.data is not None
        urls = [one.url or "" for one in answer.data]
        status, headers, content = await fetch(
            urls[0], **{"Sec-Fetch-Site": "cross-site", "Origin": "https://x.example"}
        )

        assert all(url.startswith(f"{here.url}/v1/images/files/") for url in urls)
        assert [43, 43] == [len(url.rpartition("/")[2]) for url in urls] and urls[0] != urls[1]
        assert (200, "image/png", "nosniff", "private") == (
            status,
            *(headers[name] for name in ("content-type", "x-content-type-options", "cache-control")),
        )
        assert (1024, 1024) == struct.unpack(">II", content[16:24])
        assert [404, 404, 404] == [
            (await fetch(url))[0] for url in (f"{urls[0][:-1]}_", urls[0][:-1], f"{here.url}/v1/images/files/")
        ]

        wall.now += 599_999
        assert 200 == (await fetch(urls[1]))[0]
        wall.now += 1
        assert [404, 404] == [(await fetch(url))[0] for url in urls]
        assert 0 == here.gateway.files.size


async def test_a_base_url_of_the_configs(tmp_path: Path) -> None:
    """Behind another name than the caller's own, URLs begin as the config says."""
    config = MODELS + "general_settings: {base_url: https://gateway.example.com/llm/}\n"
    async with running(tmp_path, config) as here, sdk(here) as client:
        answer = await client.images.generate(model="sd", prompt="a cat", size="1792x1024", response_format="url")

        assert answer.data is not None and answer.data[0].url is not None
        before, _, name = answer.data[0].url.rpartition("/")
        assert "https://gateway.example.com/llm/v1/images/files" == before
        assert 200 == (await fetch(f"{here.url}/v1/images/files/{name}"))[0]
        assert [{"prompt": "a cat", "aspect_ratio": "16:9"}] == sent(here)


async def test_edits(tmp_path: Path) -> None:
    """With a mask an image is painted over, without one it is varied by words; what edits alone is told no task."""
    shown = base64.b64encode(IMAGE).decode()
    async with running(tmp_path, MODELS) as here, sdk(here) as client:
        one = await client.images.edit(
            model="canvas",
            image=IMAGE,
            mask=IMAGE,
            prompt="a hat",
            n=2,
            # The SDK writes what is nested as metadata[tags][] and imageGenerationConfig[cfgScale].
            extra_body={
                **{"seed": 5, "negative_prompt": "1", "metadata": {"tags": ["winter"]}},
                "imageGenerationConfig": {"cfgScale": 6.5},
            },
        )
        two = await client.images.edit(model="canvas", image=[IMAGE, IMAGE], prompt="a hat", size="512x512")
        three = await client.images.edit(model="remover", image=IMAGE, prompt="", response_format="url")
        await here.settled()

        assert [2, 1, 1] == [len(answer.data or ()) for answer in (one, two, three)]
        assert [
            {
                "taskType": "INPAINTING",
                "inPaintingParams": {"text": "a hat", "negativeText": "1", "image": shown, "maskImage": shown},
                "imageGenerationConfig": {"numberOfImages": 2, "cfgScale": 6.5, "seed": 5},
            },
            {
                "taskType": "IMAGE_VARIATION",
                "imageVariationParams": {"text": "a hat", "images": [shown, shown]},
                "imageGenerationConfig": {"width": 512, "height": 512},
            },
            {"image": shown},
        ] == sent(here)
        assert [(2, 80_000_000), (1, 40_000_000), (1, 70_000_000)] == [
            tuple(row.values()) for row in here.rows("SELECT images, spend FROM attempts ORDER BY started_at, id")
        ]


async def test_variations(tmp_path: Path) -> None:
    """An image is varied without words."""
    async with running(tmp_path, MODELS) as here, sdk(here) as client:
        with pytest.warns(DeprecationWarning):
            answer = await client.images.create_variation(model="titan", image=("cat.png", IMAGE, "image/png"), n=3)

        assert 3 == len(answer.data or ())
        assert {
            "taskType": "IMAGE_VARIATION",
            "imageVariationParams": {"images": [base64.b64encode(IMAGE).decode()]},
            "imageGenerationConfig": {"numberOfImages": 3},
        } == sent(here)[0]


@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "what the image is to show"),
        ({"size": "large"}, "size", "WIDTHxHEIGHT"),
        ({"n": 6}, "n", "5 or less"),
        ({"n": 0}, "n", "1 or more"),
        ({"quality": "best"}, "quality", "one of auto, standard"),
        ({"response_format": "png"}, "response_format", "one of b64_json, url"),
        ({"model": "sd", "n": 2}, "n", "makes one image a request"),
        ({"model": "remover"}, "model", "/v1/images/edits"),
        ({"model": "nova"}, "model", "not known here that it makes images"),
        ({"background": "transparent"}, "background", "nothing like it"),
        ({"stream": True}, "stream", "nothing like it"),
        ({"model": "nowhere"}, "model", "nowhere"),
    ],
)
async def test_what_cannot_be_asked(tmp_path: Path, asked: dict[str, Any], param: str, words: str) -> None:
    """What is wrong is refused by the name of its field, and nothing of it goes upstream."""
    async with running(tmp_path, MODELS) as here, sdk(here) as client:
        with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=words) as caught:
            await client.images.generate(**{"model": "canvas", "prompt": "a cat", **asked})

        assert param == caught.value.param
        assert [] == sent(here)


async def test_what_is_left_out(tmp_path: Path) -> None:
    """With drop_params what a model cannot do is left out of what it is asked."""
    async with running(tmp_path, MODELS + "litellm_settings: {drop_params: true}\n") as here, sdk(here) as client:
        answer = await client.images.generate(
            model="sd", prompt="a cat", n=3, quality="hd", background="transparent", output_format="jpeg"
        )

        assert 1 == len(answer.data or ())
        assert [{"prompt": "a cat", "output_format": "jpeg"}] == sent(here)


def answering(answer: dict[str, Any], control: dict[str, Any] | None = None) -> Script:
    """Return the script of an AWS whose models all say this."""

    async def script(told: Asked) -> aiohttp.web.StreamResponse:
        model = told.request.path.startswith("/model/")
        return aiohttp.web.json_response(answer if model else control)

    return script


@pytest.mark.parametrize(
    ("model", "answer", "error", "words", "code"),
    [
        ("canvas", {"images": [], "error": "Blocked by our filters."}, 400, "our filters", "content_policy_violation"),
        ("sd", {"finish_reasons": ["Filter reason: prompt"]}, 400, "Filter reason: prompt", "content_policy_violation"),
        ("sd", {"finish_reasons": ["Inference error"]}, 424, "Inference error", None),
        ("canvas", {"images": "none"}, 424, "does not say why", None),
        ("canvas", {"images": ["?"]}, 424, "no base64", None),
    ],
)
async def test_what_a_model_did_not_make(
    tmp_path: Path, model: str, answer: dict[str, Any], error: int, words: str, code: str | None
) -> None:
    """An image that a filter kept is a bad request, any other that is missing may have been billed; all are booked."""
    async with scripted(answering(answer)) as upstream:
        async with running(tmp_path, MODELS.replace("%(url)s", upstream.url)) as here, sdk(here) as client:
            with pytest.raises(openai.APIStatusError, match=words) as caught:
                await client.images.generate(model=model, prompt="a cat", response_format="url")
            await here.settled()

            assert (error, code, "false") == (
                caught.value.status_code,
                caught.value.code,
                caught.value.response.headers["x-should-retry"],
            )
            assert [(200, error)] == [
                tuple(row.values())
                for row in here.rows(
                    "SELECT attempts.status, calls.status AS told FROM attempts JOIN calls ON calls.id = attempts.call"
                )
            ]


async def test_some_were_blocked(tmp_path: Path) -> None:
    """What was made is given, for it is paid for, and beside it is told why there is no more."""
    answer = {"images": [base64.b64encode(IMAGE).decode()], "error": "One was blocked."}
    async with scripted(answering(answer)) as upstream:
        async with running(tmp_path, MODELS.replace("%(url)s", upstream.url)) as here, sdk(here) as client:
            told = await client.images.generate(model="canvas", prompt="a cat", n=2)
            await here.settled()

            assert 1 == len(told.data or ())
            assert {"blocked": "One was blocked."} == told.model_extra
            assert [{"images": 1, "spend": 40_000_000}] == here.rows("SELECT images, spend FROM attempts")


async def test_large_images(tmp_path: Path) -> None:
    """An answer of many megabytes comes whole, with its spend; one over the bound is told as what it is, and booked."""
    large = base64.b64encode(IMAGE + bytes(3_000_000)).decode()
    answer: dict[str, Any] = {"images": [large] * 3}
    async with scripted(answering(answer)) as upstream:
        async with running(tmp_path, MODELS.replace("%(url)s", upstream.url)) as here, sdk(here) as client:
            told = await client.images.with_raw_response.generate(
                model="canvas", prompt="a cat", n=3, response_format="url"
            )
            assert "0.120000000" == told.headers["x-bedrock-gateway-spend-usd"]
            urls = [one.url or "" for one in told.parse().data or ()]
            assert [IMAGE + bytes(3_000_000)] * 3 == [(await fetch(url))[2] for url in urls]
            answer["images"] = [large] * 9
            with pytest.raises(openai.APIStatusError, match="may have been billed") as caught:
                await client.images.generate(model="canvas", prompt="a cat")
            await here.settled()

            assert 424 == caught.value.status_code
            assert ["metered", "estimated"] == [
                row["state"] for row in here.rows("SELECT state FROM attempts ORDER BY started_at, id")
            ]


@pytest.mark.parametrize("model", ["reserved", "named"])
async def test_provisioned_throughput(tmp_path: Path, model: str) -> None:
    """What is paid by the hour is asked in the words of the model behind it, whether a config or AWS tells it."""
    foundation = f"arn:aws:bedrock:us-east-1::foundation-model/{CANVAS}"
    control = {"provisionedModelArn": THROUGHPUT, "foundationModelArn": foundation, "modelArn": foundation}
    answer = {"images": [base64.b64encode(IMAGE).decode()], "error": None}
    async with scripted(answering(answer, control | {"modelUnits": 1})) as upstream:
        config = (MODELS + entry("named", "provisioned/my-canvas")).replace("%(url)s", upstream.url)
        async with running(tmp_path, config) as here, sdk(here) as client:
            told = await client.images.generate(model=model, prompt="a cat")
            await here.settled()

            assert 1 == len(told.data or ())
            called = [one for one in upstream.asked if one.request.path.startswith("/model/")]
            assert [f"/model/{THROUGHPUT}/invoke"] == [one.request.path for one in called]
            assert "TEXT_IMAGE" == json.loads(called[0].body)["taskType"]
            assert [("flat", 0, 1)] == [
                tuple(row.values()) for row in here.rows("SELECT state, spend, images FROM attempts")
            ]


async def test_a_path_that_names_the_model(tmp_path: Path) -> None:
    """Azure's clients say the model in the path alone."""
    async with running(tmp_path, MODELS) as here:
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=here.url, api_key="k", api_version="1", azure_deployment="canvas"
        )
        async with azure as client:
            made = await client.images.generate(model="other", prompt="a cat", extra_body={"extra_body": {"seed": 5}})
            edited = await client.images.edit(model="other", image=IMAGE, prompt='see "http://x')

        assert [1, 1] == [len(made.data or ()), len(edited.data or ())]
        assert {"seed": 5} == sent(here)[0]["imageGenerationConfig"]


@pytest.mark.parametrize("path", ["generations", "edits", "variations"])
@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary=b"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.one_of(st.binary(max_size=64), st.just(b"{}"), st.just(b"--b\r\n\r\n--b--")))
def test_garbage(garbage: Garbage, path: str, content_type: str, body: bytes) -> None:
    """Whatever comes in is a bad request, never a fault of the gateway's, and nothing of it goes upstream."""
    assert 400 == garbage.post(f"/v1/images/{path}", body, content_type)
    assert [] == sent(garbage.here)


class Garbage:
    """A gateway that is sent garbage, on a loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, here: Running) -> None:
        self.here, self._loop = here, loop

    def post(self, path: str, body: bytes, content_type: str) -> int:
        """Return the status of an answer."""

        async def posted() -> int:
            headers = {"content-type": content_type, "authorization": "Bearer k"}
            async with aiohttp.ClientSession() as session:
                async with session.post(self.here.url + path, data=body, headers=headers) as answer:
                    return answer.status

        return self._loop.run_until_complete(posted())


@pytest.fixture(scope="module")
def garbage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garbage]:
    """Run a gateway for all of them."""
    loop = asyncio.new_event_loop()
    gateway = running(tmp_path_factory.mktemp("garbage"), MODELS)
    yield Garbage(loop, loop.run_until_complete(gateway.__aenter__()))
    loop.run_until_complete(gateway.__aexit__(None, None, None))
    loop.close()
