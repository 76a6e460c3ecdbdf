"""Every operation of AWS's models, called by both boto3s through the gateway, arrives as boto3 itself would have sent
it, and its answer comes back as boto3 itself would have had it. The oracle is the same call without a gateway.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable

import boto3
import pytest
from every_operation import KEY_ID, REGION, SERVICES, Called, Row, Run, rows, run_everything
from operation_parameters import ROUNDS
from operations_page import PAGE, page

from bedrock_gateway.upstream.models import load_operations

pytestmark = pytest.mark.timeout(240)

#: Headers that are of a connection, of a client or of a signature, and not of the request.
OF_THE_WAY = frozenset(
    {
        *("host", "user-agent", "connection", "accept-encoding", "authorization", "x-amz-date"),
        *("amz-sdk-invocation-id", "amz-sdk-request"),
    }
)
#: The one whose input is a stream; no boto3 can call it, and the gateway says why it does not serve it.
TWO_WAY = ("bedrock-runtime", "InvokeModelWithBidirectionalStream")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make all calls once."""
    return asyncio.run(run_everything(tmp_path_factory.mktemp("every")))


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str], Row]:
    """The table of operations, by service and name."""
    return {(row.service, row.operation): row for row in rows()}


def hold(calls: Iterable[Called], check: Callable[[Called], object]) -> None:
    """Let a check look at every call; what it returns for one is a fault, and the first ten are shown."""
    faults = [f"{call.name}: {fault}" for call in calls if (fault := check(call))]
    assert not faults, f"{len(faults)} calls:\n" + "\n".join(faults[:10])


def test_every_operation_was_called(
    run: Run, table: dict[tuple[str, str], Row], record_property: Callable[[str, object], None]
) -> None:
    """All rows of the table, and all operations of both boto3s' models, were called in all their rounds."""
    wanted = {
        (service, name)
        for service in SERVICES
        for name in boto3.client(service, region_name=REGION).meta.service_model.operation_names
    }
    arrived = {(call.service, call.operation) for call in run.calls if call.arrived is not None}
    done = arrived | {TWO_WAY}
    versions = sorted({call.boto3 for call in run.calls})

    assert 523 == len(table)
    assert set() == set(table) - done
    assert set() == wanted - done
    assert {boto3.__version__} < set(versions)
    for version, rounds in zip(versions, (ROUNDS, ROUNDS[:2]), strict=True):
        assert set(rounds) == {call.round for call in run.calls if call.boto3 == version}
    told = (
        f"{len(set(table) & done)} of {len(table)} operations: boto3 {' and '.join(versions)}, "
        f"{len(run.calls)} calls twice in {run.seconds:.0f} s; {TWO_WAY[1]} refused"
    )
    if run.unheard_of:
        told += f"; newer than this gateway (make operations): {', '.join(run.unheard_of)}"
    record_property("summary", told)


def test_every_call_reached_the_host_of_its_service(run: Run) -> None:
    """Each operation came to the one of eight hosts that is its service's, under its own name."""

    def check(call: Called) -> object:
        if call.reference is None:
            return f"nothing was sent: {call.direct.get('failed')}"
        if call.arrived is None:
            return f"nothing arrived: {call.through.get('failed') or call.through['answer']}"
        told = (call.service, call.operation)
        return told != (call.arrived.service, call.arrived.operation) and (call.arrived.service, call.arrived.operation)

    hold(run.calls, check)


def test_the_table_says_how_operations_are_asked_for(run: Run, table: dict[tuple[str, str], Row]) -> None:
    """Method, path and signing name of what the newest boto3 sent are those of the table."""
    newest = max({call.boto3 for call in run.calls}, key=lambda version: [int(part) for part in version.split(".")])

    def check(call: Called) -> object:
        assert call.reference is not None
        row = table[call.service, call.operation]
        path = call.reference.raw_path.partition("?")[0]
        template = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(row.template))
        signed = f"/{row.signing_name}/aws4_request" in (call.reference.header("authorization") or "")
        fits = row.method == call.reference.method and re.fullmatch(template, path) and signed
        return None if fits else f"{call.reference.method} {path} is not {row}"

    hold((call for call in run.calls if call.boto3 == newest and (call.service, call.operation) in table), check)


def test_method_path_and_query_are_those_of_boto3(run: Run) -> None:
    """Byte for byte: labels as they are encoded, a slash at the end, the query in its own order."""

    def check(call: Called) -> object:
        assert call.reference is not None and call.arrived is not None
        expected = (call.reference.method, call.reference.raw_path)
        found = (call.arrived.method, call.arrived.raw_path)
        return expected != found and f"{found}, not {expected}"

    hold(run.calls, check)


def test_bodies_are_those_of_boto3(run: Run) -> None:
    """Byte for byte: models are asked for by their own names here, so nothing is put in their place."""

    def check(call: Called) -> object:
        assert call.reference is not None and call.arrived is not None
        return call.reference.body != call.arrived.body and f"{call.arrived.body!r}, not {call.reference.body!r}"

    hold(run.calls, check)


def test_headers_are_those_of_boto3(run: Run) -> None:
    """All that are not of the way itself; only a body that boto3 sends without a type is called JSON."""

    def check(call: Called) -> object:
        assert call.reference is not None and call.arrived is not None
        expected, found = (
            {name.lower(): value for name, value in record.headers if name.lower() not in OF_THE_WAY}
            for record in (call.reference, call.arrived)
        )
        if expected.get("content-length", "0") != "0":
            expected.setdefault("content-type", "application/json")
        return expected != found and {
            name: (expected.get(name), found.get(name))
            for name in {**expected, **found}
            if expected.get(name) != found.get(name)
        }

    hold(run.calls, check)


def test_signatures_are_accepted(run: Run) -> None:
    """Botocore's own signer comes to the same signature, for the gateway's key and region and the service's name."""

    def check(call: Called) -> object:
        assert call.reference is not None and call.arrived is not None
        scopes = [
            re.findall(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/", record.header("authorization") or "")
            for record in (call.reference, call.arrived)
        ]
        accepted = call.arrived.access_key_id == KEY_ID and call.arrived.refused == call.reference.refused
        return None if accepted and scopes[0] == scopes[1] and scopes[0] else f"{call.arrived}, {scopes}"

    hold(run.calls, check)


def test_answers_are_those_of_aws(run: Run) -> None:
    """boto3 reads the same answer of the gateway as it would of AWS: status, members, events, headers."""

    def check(call: Called) -> object:
        for part in ("status", "answer"):
            if call.direct[part] != call.through[part]:
                return f"{part}: {call.through[part]}, not {call.direct[part]}"
        missing = {
            name: value for name, value in call.direct["headers"].items() if call.through["headers"].get(name) != value
        }
        return missing and f"headers: {missing}"

    hold(run.calls, check)


def test_what_can_succeed_does(run: Run) -> None:
    """With parameters that make sense no operation is refused; with odd ones only what looks at what it is given."""
    sensible = [call for call in run.calls if call.round != "nasty"]
    hold(sensible, lambda call: call.direct["status"] >= 300 and call.direct["answer"])
    odd = {call.operation for call in run.calls if call.round == "nasty" and call.direct["status"] >= 300}
    assert odd <= {
        *("ApplyGuardrail", "InvokeAgent", "InvokeInlineAgent", "GetAgent", "GetKnowledgeBase"),
        *("ListAsyncInvokes", "ListInferenceProfiles", "ListModelInvocationJobs", "ListSessions"),
    }


def test_the_parameters_are_nasty(run: Run) -> None:
    """What was sent holds what encodings stumble over: in paths, queries, headers and bodies."""
    references = [call.reference for call in run.calls if call.reference is not None]
    paths = " ".join(reference.raw_path.partition("?")[0] for reference in references)
    queries = " ".join(reference.raw_path.partition("?")[2] for reference in references)

    for sign in ("%2F", "%3A", "%20", "%25", "%2B", "%E9%9B%AA", "%3B", "%27", "~"):
        assert paths.count(sign) > 20, sign
    for sign in ("%20", "%25", "%2B", "%2541"):
        assert queries.count(sign) > 10, sign
    assert sum(reference.raw_path.partition("?")[0].endswith("/") for reference in references) > 50
    assert sum(rb"\u96ea" in reference.body for reference in references) > 100
    assert sum(rb"\ud83d\ude00" in reference.body for reference in references) > 100
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} == {reference.method for reference in references}


def test_every_call_is_booked(run: Run) -> None:
    """No call is without a row, none is booked as free that AWS may charge for, and none that it does not as more."""
    free = {(one.service, one.name) for one in load_operations() if one.free}

    def check(call: Called) -> object:
        if call.through["status"] >= 300:
            return call.state is None and "no row"
        expected = (call.service, call.operation) in free
        return (call.state in (None, "refused") or expected != (call.state == "free")) and call.state

    hold(run.calls, check)


def test_a_stream_both_ways_is_refused(run: Run) -> None:
    """The one operation whose input is a stream is refused in words that say what to use instead."""
    status, message = run.refused

    assert 400 == status
    assert message.startswith("InvokeModelWithBidirectionalStream is not served here")
    assert "InvokeModelWithResponseStream" in message


def test_the_page_of_operations_is_of_this_run(run: Run) -> None:
    """``docs/operations.md`` says what this run has shown; ``make operations`` writes it anew."""
    assert page(run) == PAGE.read_text(), "docs/operations.md is not of this run: make operations"
