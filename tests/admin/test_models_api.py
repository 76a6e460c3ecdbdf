"""Models over the API: added, called, changed, taken away, listed; over HTTP, as LiteLLM's scripts do it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from models_running import CLAUDE, MASTER, NOVA, ROOT, aws, running

from bedrock_gateway.store.administration import Writing, create
from bedrock_gateway.store.subjects import Subject, insert, transaction

SECRET = "hush-hush-hush"


def entry_of(told: Any, id_: str) -> Any:
    """Return the entry of an id in an answer of /model/info."""
    (found,) = [entry for entry in told["data"] if entry["model_info"]["id"] == id_]
    return found


async def test_an_added_model_is_called_with_its_own_credentials(tmp_path: Path) -> None:
    """From the answer on, a model that was added can be called, signed with the secret that was given."""
    async with running(tmp_path) as gateway:
        assert 404 == (await gateway.call("nova"))[0]

        status, told = await gateway.add(info={"id": "added", "note": "mine"})
        called, answer = await gateway.call("nova")

        assert (200, 200, "assistant") == (status, called, answer["output"]["message"]["role"])
        assert "AKIADDED" in gateway.sent("authorization")
        assert ("added", "nova", False, "master") == (
            told["model_id"],
            told["model_name"],
            told["blocked"],
            told["created_by"],
        )
        assert {"id": "added", "note": "mine", "db_model": True} == told["model_info"]
        assert {"model", "aws_region_name", "api_base"} == set(told["litellm_params"])


async def test_reports_know_its_name(tmp_path: Path) -> None:
    """The ledger is told what an added model is called."""
    names = "SELECT name, model, region FROM deployments WHERE id = 'added'"
    async with running(tmp_path) as gateway:
        await gateway.add("claude", info={"id": "added"})
        async with asyncio.timeout(10):
            while not gateway.rows(names):  # noqa: ASYNC110 (the ledger writes it when it comes to it)
                await asyncio.sleep(0)

        assert [("claude#2", NOVA, "us-east-1")] == gateway.rows(names)


async def test_an_id_is_made_where_none_is_given(tmp_path: Path) -> None:
    """A model without an id gets one, and keeps it."""
    async with running(tmp_path) as gateway:
        _, told = await gateway.add()
        _, shown = await gateway.ask("GET", f"/model/info?litellm_model_id={told['model_id']}")

        assert 36 == len(told["model_id"])
        assert told["model_id"] == entry_of(shown, told["model_id"])["model_info"]["id"]


async def test_an_added_model_shares_the_calls_of_its_group(tmp_path: Path) -> None:
    """A model of a group of the file is one more deployment of it, with the next name."""
    async with running(tmp_path) as gateway:
        await gateway.add("claude", {"id": "added"}, model=f"bedrock/{CLAUDE}")
        deployments = gateway.gateway.snapshot.routing.resolve("claude").deployments()

        assert [("of-the-file", "claude"), ("added", "claude#2")] == [(d.id, d.name) for d in deployments]


async def test_models_survive_a_restart(tmp_path: Path) -> None:
    """What was added, changed and blocked is so after a restart, and its secret still signs."""
    async with aws() as before:
        async with running(tmp_path, before=before) as gateway:
            await gateway.add("kept", {"id": "kept"})
            await gateway.add("shut", {"id": "shut"})
            await gateway.add("gone", {"id": "gone"})
            await gateway.ask("PATCH", "/model/kept/update", {"model_name": "renamed"})
            await gateway.ask("POST", "/model/block", {"id": "shut"})
            await gateway.ask("POST", "/model/delete", {"id": "gone"})

        async with running(tmp_path, before=before) as gateway:
            called = [(await gateway.call(name))[0] for name in ("renamed", "kept", "shut", "gone")]
            refused = (await gateway.call("shut"))[1]

            assert [200, 404, 404, 404] == called
            assert "is not served here: it is blocked" in refused["message"]
            assert ["claude", "renamed", "sonnet"] == await gateway.names()


async def test_the_secret_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No answer, no byte of the database and no line of a log holds a secret that was given, or its access key id."""
    told = []
    async with running(tmp_path, "api_settable_params: [extra_headers]") as gateway:
        told += [await gateway.add(info={"id": "added"}, extra_headers={"x-token": "hush-header"})]
        told += [await gateway.add(info={"id": "wrong"}, api_key="hush-hush-key", weight="heavy", regoin="x")]
        told += [await gateway.ask("GET", path) for path in ("/model/info", "/v2/model/info", "/v1/models")]
        told += [await gateway.ask("PATCH", "/model/added/update", {"litellm_params": {"weight": 3}})]
        called, _ = await gateway.call("nova")
        header = gateway.sent("x-token")
        written = gateway.written()

    assert (200, "hush-header") == (called, header)
    assert b'"sealed"' in written and b"added" in written
    for secret in (b"hush", b"AKIADDED"):
        assert secret not in written
        assert secret not in json.dumps(told).encode()
        assert secret.decode() not in caplog.text
    assert 200 == told[0][0] and 400 == told[1][0]
    assert "hush" not in repr(gateway.gateway.snapshot.routing.deployments)


async def test_without_a_root_secret_secrets_are_refused(tmp_path: Path) -> None:
    """Nothing is stored that cannot be encrypted, and the refusal says what helps; models without secrets are taken."""
    async with running(tmp_path, root=None) as gateway:
        status, told = await gateway.add()
        without, _ = await gateway.add(aws_access_key_id=None, aws_secret_access_key=None)

        assert (400, "litellm_params.aws_access_key_id") == (status, told["error"]["param"])
        assert "BEDROCK_GATEWAY_SECRET" in told["error"]["message"]
        assert (200, 200) == (without, (await gateway.call("nova"))[0])
        assert 1 == len(gateway.rows("SELECT id FROM subjects"))


async def test_another_root_secret_opens_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, readiness and /model/info say why, one line warns; given anew, its secret works again."""
    async with aws() as before:
        async with running(tmp_path, before=before) as gateway:
            await gateway.add(info={"id": "added"})
            await gateway.add("open", {"id": "open"}, aws_access_key_id=None, aws_secret_access_key=None)

        async with running(tmp_path, root=ROOT[::-1], before=before) as gateway:
            called = [(await gateway.call(name))[0] for name in ("nova", "open")]
            ready = await gateway.ask("GET", "/health/readiness", key=None)
            shown = entry_of((await gateway.ask("GET", "/model/info"))[1], "added")["model_info"]
            kept, refused = await gateway.ask("PATCH", "/model/added/update", {"litellm_params": {"weight": 1}})
            fresh = {"aws_secret_access_key": SECRET, "aws_access_key_id": "AKIADDED"}
            mended, _ = await gateway.ask("PATCH", "/model/added/update", {"litellm_params": fresh})

            reason = "aws_access_key_id cannot be read: it was sealed with another root secret, or is damaged"
            assert [404, 200] == called
            assert (503, [f"model added: {reason}"]) == (ready[0], ready[1]["reasons"])
            assert reason == shown["not_served"]
            assert 1 == caplog.text.count(reason)
            assert (400, 200) == (kept, mended)
            assert "Give it anew" in refused["error"]["message"]
            assert 200 == (await gateway.call("nova"))[0]
            assert 200 == (await gateway.ask("GET", "/health/readiness", key=None))[0]


async def test_an_update_merges(tmp_path: Path) -> None:
    """What is given replaces what was said, null takes it away, everything else stays, secrets too."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added", "note": 1, "other": 2}, weight=2, rpm=5)
        body = {"litellm_params": {"weight": 7, "rpm": None}, "model_info": {"id": "added", "note": None}}
        status, told = await gateway.ask("POST", "/model/update", body)

        assert (200, 7) == (status, told["litellm_params"]["weight"])
        assert "rpm" not in told["litellm_params"]
        assert {"id": "added", "other": 2, "db_model": True} == told["model_info"]
        (deployment,) = gateway.gateway.snapshot.routing.resolve("nova").deployments()
        assert (7, None, SECRET) == (deployment.weight, deployment.rpm, deployment.credentials.secret_access_key)


async def test_a_wrong_update_changes_nothing(tmp_path: Path) -> None:
    """A change is taken whole or not at all."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        before = gateway.rows("SELECT * FROM subjects")
        status, told = await gateway.ask(
            "PATCH", "/model/added/update", {"model_name": "other", "litellm_params": {"weight": -1}}
        )

        assert (400, "litellm_params.weight") == (status, told["error"]["param"])
        assert before == gateway.rows("SELECT * FROM subjects")
        assert ["claude", "nova", "sonnet"] == await gateway.names()


async def test_an_update_that_is_no_object_is_named(tmp_path: Path) -> None:
    """A ``model_info`` that is a list or a text is 400, as it is of a new model."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        for info in ([1], "text", 5):
            status, told = await gateway.ask("PATCH", "/model/added/update", {"model_info": info})
            assert (400, "model_info") == (status, told["error"]["param"])


async def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    """Twenty changes of different members at the same time are all in what comes out."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        await asyncio.gather(
            *(gateway.ask("PATCH", "/model/added/update", {"model_info": {f"n{n}": n}}) for n in range(20))
        )
        told = entry_of((await gateway.ask("GET", "/model/info"))[1], "added")

        assert list(range(20)) == [told["model_info"][f"n{n}"] for n in range(20)]


async def test_a_block_is_lifted(tmp_path: Path) -> None:
    """A blocked model is not called and not listed until it is unblocked; /model/info shows it all the while."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        _, told = await gateway.ask("POST", "/model/block", {"id": "added"})
        blocked = (await gateway.call("nova"))[0], await gateway.names()
        shown = entry_of((await gateway.ask("GET", "/model/info"))[1], "added")
        _, lifted = await gateway.ask("PATCH", "/model/added/update", {"blocked": False})

        assert (True, True, False) == (told["blocked"], shown["model_info"]["blocked"], lifted["blocked"])
        assert (404, ["claude", "sonnet"]) == blocked
        assert 200 == (await gateway.call("nova"))[0]


REFUSED: list[tuple[str, str, Any, int, str | None, str]] = [
    ("POST", "/model/new", {}, 400, "model_name", "needs model_name"),
    ("POST", "/model/new", b"{", 400, None, "no JSON"),
    ("POST", "/model/new", b'{"model_name": "a", "model_name": "b"}', 400, "model_name", "twice"),
    ("POST", "/model/new", {"model_nmae": "x"}, 400, "model_name", "did you mean 'model_name'?"),
    ("POST", "/model/update", {"model_name": "x"}, 400, "model_info.id", "is needed"),
    ("POST", "/model/update", {"model_info": {"id": 7}}, 400, "model_info.id", "text"),
    ("POST", "/model/update", {"model_info": {"id": "nobody"}}, 404, "id", "'nobody'"),
    ("PATCH", "/model/nobody/update", {}, 404, "id", "'nobody'"),
    ("PATCH", "/model/of-the-file/update", {"model_name": "x"}, 400, "id", "stands in the config file"),
    ("PATCH", "/model/added/update", {"model_info": {"id": "other"}}, 400, "model_info.id", "cannot be changed"),
    ("PATCH", "/model/added/update", {"blocked": "yes"}, 400, "blocked", "true or false"),
    ("PATCH", "/model/added/update", {"litellm_params": "x"}, 400, "litellm_params", "mapping"),
    ("PATCH", "/model/added/update", {"litellm_params": {"wieght": 1}}, 400, "litellm_params.wieght", "'weight'"),
    ("PATCH", "/model/added/update", {"modle_name": "x"}, 400, "modle_name", "'model_name'"),
    ("POST", "/model/delete", {}, 400, "id", "is needed"),
    ("POST", "/model/delete", {"id": "nobody"}, 404, "id", "'nobody'"),
    ("POST", "/model/delete", {"id": ["added"]}, 400, "id", "text"),
    ("POST", "/model/delete", {"id": "added", "force": True}, 400, "force", "not known"),
    ("POST", "/model/delete", {"id": "of-the-file"}, 400, "id", "stands in the config file"),
    ("POST", "/model/block", {"id": "nobody"}, 404, "id", "'nobody'"),
    ("GET", "/model/info?litellm_model_id=nobody", None, 404, "litellm_model_id", "nobody"),
    ("GET", "/model/info?litellm_modelid=x", None, 400, "litellm_modelid", "litellm_model_id"),
    ("GET", "/v2/model/info?page=0", None, 400, "page", "1 or more"),
    ("GET", "/v1/models/nobody", None, 404, None, "nobody"),
    ("GET", "/v1/models?return_wildcard_routes=maybe", None, 400, "return_wildcard_routes", "true or false"),
]


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    """Wrong types, unknown fields and unknown ids are refused in LiteLLM's shape, with the field named."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        before = gateway.rows("SELECT * FROM subjects")
        for method, path, body, status, param, words in REFUSED:
            found, told = await gateway.ask(method, path, body)
            error = told["error"]

            assert (status, str(status), param) == (found, error["code"], error["param"]), (path, body, error)
            assert words in error["message"], (path, body)
        assert before == gateway.rows("SELECT * FROM subjects")


async def test_an_id_is_one_models(tmp_path: Path) -> None:
    """The id of another model, added or of the file, is refused."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"})
        for id_ in ("added", "of-the-file"):
            status, told = await gateway.add("other", {"id": id_})

            assert (409, "model_info.id") == (status, told["error"]["param"])
        assert 404 == (await gateway.call("other"))[0]


async def test_hosts_are_not_the_apis_to_choose(tmp_path: Path) -> None:
    """An endpoint that the operator did not name is refused, and nothing is written."""
    async with running(tmp_path) as gateway:
        status, told = await gateway.add(api_base="http://127.0.0.1:9")

        assert (400, "litellm_params.api_base") == (status, told["error"]["param"])
        assert [] == gateway.rows("SELECT * FROM subjects")


async def test_a_permission_that_is_taken_back_ends_what_it_allowed(tmp_path: Path) -> None:
    """After a restart with fewer permissions a model that needs them is not served and says so."""
    async with running(tmp_path, "api_settable_params: [ssl_verify]") as gateway:
        await gateway.add(info={"id": "added"}, ssl_verify=False)

    async with running(tmp_path) as gateway:
        shown = entry_of((await gateway.ask("GET", "/model/info"))[1], "added")

        assert "litellm_params.ssl_verify is not taken over the API" in shown["model_info"]["not_served"]
        assert 404 == (await gateway.call("nova"))[0]


async def test_a_bundle_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A CA bundle is tried when it is named, not in the first call."""
    async with running(tmp_path, "api_settable_params: [ssl_verify]") as gateway:
        status, told = await gateway.add(ssl_verify=str(tmp_path / "none.pem"))

        assert (400, "litellm_params.ssl_verify") == (status, told["error"]["param"])


async def test_what_another_process_writes_is_taken_over(tmp_path: Path) -> None:
    """A row that somebody else writes into the database is served soon, and gone again when it is taken away."""
    async with running(tmp_path) as gateway:
        document = {
            "model_name": "beside",
            "litellm_params": {
                "model": f"bedrock/{NOVA}",
                "aws_region_name": "us-east-1",
                "api_base": gateway.upstream,
            },
            "model_info": {"id": "beside"},
        }
        subject = Subject(
            kind="model", id="beside", document=document, created_at=1, created_by="x", updated_at=1, updated_by="x"
        )
        connection = sqlite3.connect(gateway.database, isolation_level=None)
        with transaction(connection):
            insert(connection, subject)
        connection.close()
        await gateway.until(lambda: "beside" in gateway.gateway.snapshot.routing.names())

        assert 200 == (await gateway.call("beside"))[0]


@pytest.mark.parametrize("document", [{}, {"model_name": 1, "litellm_params": "x", "model_info": []}], ids=repr)
async def test_a_damaged_row_stops_nothing(tmp_path: Path, document: dict[str, Any]) -> None:
    """A row that no gateway wrote is not served and says so; everything else is, and the row can be deleted."""
    async with aws() as before:
        async with running(tmp_path, before=before) as gateway:
            await gateway.add(info={"id": "added"})
            await gateway.gateway.registry.write(
                insert,
                Subject(
                    kind="model", id="odd", document=document, created_at=1, created_by="", updated_at=1, updated_by=""
                ),
            )

        async with running(tmp_path, before=before) as gateway:
            shown = entry_of((await gateway.ask("GET", "/model/info"))[1], "odd")
            patched, _ = await gateway.ask("PATCH", "/model/odd/update", {"litellm_params": {"weight": 1}})
            deleted, _ = await gateway.ask("POST", "/model/delete", {"id": "odd"})

            assert "its row in the database is damaged" == shown["model_info"]["not_served"]
            assert (400, 200) == (patched, deleted)
            assert 200 == (await gateway.call("nova"))[0]
            assert 200 == (await gateway.ask("GET", "/health/readiness", key=None))[0]


async def test_a_source_without_credentials_shows_in_readiness_until_it_is_gone(tmp_path: Path) -> None:
    """Credentials of an added model are fetched ahead; what is wrong with them is told while the model is there."""
    async with running(tmp_path, "api_settable_params: [aws_profile_name]") as gateway:
        await gateway.add(
            info={"id": "added"}, aws_access_key_id=None, aws_secret_access_key=None, aws_profile_name="nobodys"
        )
        await gateway.until(gateway.gateway.credentials.troubles)
        status, told = await gateway.ask("GET", "/health/readiness", key=None)
        await gateway.ask("POST", "/model/delete", {"id": "added"})

        assert 503 == status and "profile nobodys" in told["reasons"][0]
        assert 200 == (await gateway.ask("GET", "/health/readiness", key=None))[0]


async def test_models_are_the_master_keys_business(tmp_path: Path) -> None:
    """Without the master key nothing is added, changed or shown."""
    paths = (
        ("POST", "/model/new"),
        ("POST", "/model/update"),
        ("PATCH", "/model/x/update"),
        ("POST", "/model/delete"),
        ("POST", "/model/block"),
        ("POST", "/model/unblock"),
        ("GET", "/model/info"),
        ("GET", "/v1/model/info"),
        ("GET", "/v2/model/info"),
        ("GET", "/v1/models"),
        ("GET", "/models"),
        ("GET", "/v1/models/claude"),
    )
    async with running(tmp_path) as gateway:
        for key in ("sk-somebody-elses-key-0123456789", None):
            for method, path in paths:
                found, told = await gateway.ask(method, path, {} if method != "GET" else None, key=key)

                assert (401, "auth_error") == (found, told["error"]["type"]), path


async def test_an_open_gateway_lists_and_adds_nothing(tmp_path: Path) -> None:
    """In open mode anybody may list models; adding them is closed, and says what opens it."""
    async with running(tmp_path, locked=False) as gateway:
        listed, names = await gateway.ask("GET", "/v1/models", key=None)
        status, told = await gateway.ask("POST", "/model/new", {}, key=None)

        assert (200, ["claude", "sonnet"]) == (listed, [entry["id"] for entry in names["data"]])
        assert 403 == status and "set a master key" in told["error"]["message"]


async def test_model_info_tells_prices_and_limits(tmp_path: Path) -> None:
    """Prices come in USD per token under LiteLLM's keys; a price of the model's own wins."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added"}, input_cost_per_token=0.000002)
        _, told = await gateway.ask("GET", "/model/info")
        of_file, added = entry_of(told, "of-the-file"), entry_of(told, "added")

        assert ("claude", False, True) == (
            of_file["model_name"],
            of_file["model_info"]["db_model"],
            added["model_info"]["db_model"],
        )
        assert {"model": f"bedrock/{CLAUDE}", "aws_region_name": "us-east-1", "weight": 2} == {
            key: of_file["litellm_params"][key] for key in ("model", "aws_region_name", "weight")
        }
        assert (3e-06, 1.5e-05, 3e-07, 64000, 1000000, "chat", "kept", "us-east-1", "bedrock") == tuple(
            of_file["model_info"][key]
            for key in (
                "input_cost_per_token",
                "output_cost_per_token",
                "cache_read_input_token_cost",
                "max_tokens",
                "max_input_tokens",
                "mode",
                "note",
                "region",
                "litellm_provider",
            )
        )
        assert (2e-06, 3.2e-06) == (
            added["model_info"]["input_cost_per_token"],
            added["model_info"]["output_cost_per_token"],
        )
        assert MASTER not in json.dumps(told)


async def test_model_info_has_pages(tmp_path: Path) -> None:
    """The second version of /model/info counts, pages and searches."""
    async with running(tmp_path) as gateway:
        for number in range(5):
            await gateway.add(f"nova-{number}")
        _, told = await gateway.ask("GET", "/v2/model/info?search=NOVA-&page=2&size=2")

        assert ["nova-2", "nova-3"] == [entry["model_name"] for entry in told["data"]]
        assert (5, 2, 3) == (told["total_count"], told["current_page"], told["total_pages"])


async def test_a_list_of_models_is_openais(tmp_path: Path) -> None:
    """/v1/models has OpenAI's shape with LiteLLM's fields, prices too; hidden aliases and stars are left out."""
    async with running(tmp_path) as gateway:
        _, told = await gateway.ask("GET", "/models")
        _, starred = await gateway.ask("GET", "/v1/models?return_wildcard_routes=true&limit=5")

        assert "list" == told["object"]
        assert {
            "id": "claude",
            "object": "model",
            "created": 1677610602,
            "owned_by": "openai",
            "mode": "chat",
            "max_input_tokens": 1000000,
            "max_output_tokens": 64000,
        } == {name: value for name, value in told["data"][0].items() if "cost" not in name}
        assert (3e-06, 1.5e-05) == tuple(told["data"][0][f"{side}_cost_per_token"] for side in ("input", "output"))
        assert ["claude", "sonnet"] == [entry["id"] for entry in told["data"]]
        assert ["claude", "sonnet", "bedrock/*"] == [entry["id"] for entry in starred["data"]]


async def test_one_model_is_looked_up(tmp_path: Path) -> None:
    """A name that can be called is found by itself, hidden ones and model ids too."""
    async with running(tmp_path) as gateway:
        for name in ("claude", "old", f"bedrock%2F{NOVA}", NOVA):
            status, told = await gateway.ask("GET", f"/v1/models/{name}")

            assert (200, name.replace("%2F", "/"), "model") == (status, told["id"], told["object"])


async def test_a_key_sees_what_it_may_use(tmp_path: Path) -> None:
    """/v1/models and /model/info show a key the models of its list, its own aliases, and nothing of the rest."""
    async with running(tmp_path) as gateway:
        await gateway.add(info={"id": "added", "note": "mine"})
        own = await gateway.key(models=["nova"], aliases={"quick": "nova", "sneaky": "claude", "lost": "nobody"})
        globs = await gateway.key(2, models=["anthropic.*"])
        every = await gateway.key(3)
        names = [await gateway.names(key=key) for key in (own, globs, every)]
        _, shown = await gateway.ask("GET", "/model/info", key=own)
        found = [
            (await gateway.ask("GET", f"/v1/models/{name}", key=own))[0]
            for name in ("nova", "quick", "claude", "sneaky", CLAUDE)
        ]
        hidden, _ = await gateway.ask("GET", "/model/info?litellm_model_id=of-the-file", key=own)

        assert [["nova", "quick"], ["claude", "sonnet"], ["claude", "nova", "sonnet"]] == names
        assert [200, 200, 404, 404, 404] == found
        assert 404 == hidden
        (entry,) = shown["data"]
        assert ("nova", {"model": NOVA}, True, 8e-07) == (
            entry["model_name"],
            entry["litellm_params"],
            entry["model_info"]["db_model"],
            entry["model_info"]["input_cost_per_token"],
        )
        assert "note" not in entry["model_info"]


async def test_no_virtual_key_adds_models(tmp_path: Path) -> None:
    """A key of an administrator may read every model, and still not add one: that is the master key's alone."""
    async with running(tmp_path) as gateway:
        await gateway.gateway.registry.write(
            create, "user", "boss", {"user_role": "proxy_admin"}, Writing(now_ms=1, by="test")
        )
        key = await gateway.key(user_id="boss")
        status, told = await gateway.ask("POST", "/model/new", {"model_name": "x"}, key=key)
        _, shown = await gateway.ask("GET", "/model/info", key=key)

        assert 403 == status and "takes the master key" in told["error"]["message"]
        assert "kept" == entry_of(shown, "of-the-file")["model_info"]["note"]


async def test_an_arn_is_shown_to_who_may_read_everything(tmp_path: Path) -> None:
    """The account id in a model's ARN is shown to the master key, and to no virtual key."""
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl"
    async with running(tmp_path) as gateway:
        await gateway.add("billed", {"id": "added"}, model=f"bedrock/{arn}")
        key = await gateway.key()
        _, whole = await gateway.ask("GET", "/model/info")
        others = [
            await gateway.ask("GET", path, key=key) for path in ("/model/info", "/v1/models", "/v1/models/billed")
        ]

        assert f"bedrock/{arn}" == entry_of(whole, "added")["litellm_params"]["model"]
        assert "111122223333" not in json.dumps(others)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/key/generate", "GET is not served under this path, POST is."),
        ("POST", "/key/info", "POST is not served under this path, GET is."),
        ("GET", "/no", "Nothing is served under this path."),
    ],
)
async def test_a_wrong_method_is_told(tmp_path: Path, method: str, path: str, message: str) -> None:
    """Where a path is served by another method the answer names it instead of denying the path."""
    async with running(tmp_path) as gateway:
        status, told = await gateway.ask(method, path)

    assert (404, message) == (status, told["message"][: len(message)])
