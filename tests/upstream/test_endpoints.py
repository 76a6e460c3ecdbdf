"""Hosts by region: those of botocore, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.errors import StartError
from bedrock_gateway.upstream.endpoints import Endpoints

LOADER = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
PARTITIONS: dict[str, Any] = LOADER.load_data("partitions")
SERVICES = (
    *("bedrock-runtime", "bedrock-agent-runtime", "bedrock", "bedrock-agent", "bedrock-data-automation"),
    *("bedrock-data-automation-runtime", "bedrock-agentcore", "bedrock-agentcore-control"),
)

#: Every region botocore knows or has heard of; names like aws-global are none.
REGIONS = sorted(
    {region for part in PARTITIONS["partitions"] for region in part["regions"] if not region.endswith("-global")}
    | {
        region
        for part in LOADER.load_data("endpoints")["partitions"]
        for region in (*part["regions"], *part["services"].get("bedrock", {}).get("endpoints", {}))
        if not region.startswith(("bedrock", "fips"))
    }
)
#: Regions AWS might open: botocore's patterns take them, or fall back on the first partition.
UNHEARD_OF = ["us-north-7", "cn-west-1", "us-gov-south-1", "eusc-de-west-2", "us-isob-north-1", "zz-middle-12"]


@pytest.fixture(scope="module")
def endpoints() -> Endpoints:
    """Return what botocore's data says."""
    return Endpoints.load()


@pytest.fixture(scope="module", params=SERVICES)
def rules(request: pytest.FixtureRequest) -> tuple[str, EndpointProvider]:
    """Return a service and botocore's own rules for it."""
    ruleset = LOADER.load_service_model(request.param, "endpoint-rule-set-1")
    return request.param, EndpointProvider(ruleset, PARTITIONS)


def test_there_are_regions() -> None:
    """The list the other tests go through holds regions of every partition."""
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1"} <= set(REGIONS)
    assert len(REGIONS) > 35


@pytest.mark.parametrize("dual_stack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
def test_agrees_with_botocore(rules: tuple[str, EndpointProvider], fips: bool, dual_stack: bool) -> None:
    """Any region's base URL is what botocore's endpoint rules come to, with FIPS and dual stack too."""
    service, provider = rules
    endpoints = Endpoints.load(fips=fips, dual_stack=dual_stack)
    for region in (*REGIONS, *UNHEARD_OF):
        expected = provider.resolve_endpoint(Region=region, UseDualStack=dual_stack, UseFIPS=fips).url
        assert expected == endpoints.base_url(service, region)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "bedrock-runtime.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", "bedrock-runtime.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", "bedrock-runtime.us-isof-south-1.csp.hci.ic.gov"),
    ],
)
def test_partition(endpoints: Endpoints, region: str, host: str) -> None:
    """Each partition has its own domain; the table names all that botocore has."""
    assert f"https://{host}" == endpoints.base_url("bedrock-runtime", region)
    assert 8 == len(PARTITIONS["partitions"])


@pytest.mark.parametrize(
    "region",
    [
        "",
        "us",
        "us-east",
        "us-east-",
        "us-east-1 ",
        " us-east-1",
        "us-east-1\n",
        "US-EAST-1",
        "us-east-100",
        "us-east-1.evil.example",
        "us-east-1/",
        "us-east-1@evil.example",
        "us-east-1#-1",
        "evil.example/-east-1",
        "us_east_1",
        "us-éast-1",
        "us-east-١",
        "aws-global",
        "us-east-1-us-east-1",
        "a-east-1",
        "us-" + "a" * 60 + "-1",
        "us-east-1" * 1000,
        "\udcff",
    ],
)
def test_odd_regions(endpoints: Endpoints, region: str) -> None:
    """What is spelt as no region never gets into a host name."""
    with pytest.raises(StartError, match="does not look like an AWS region"):
        endpoints.base_url("bedrock-runtime", region)


@given(st.from_regex(r"[a-z.@/:#?%\-0-9_ ]{0,80}", fullmatch=True) | st.text())
def test_any_text_for_a_region(region: str) -> None:
    """Whatever text stands for a region, it is refused or is one label of a host under a domain of AWS."""
    endpoints = Endpoints.load()
    try:
        url = endpoints.base_url("bedrock", region)
    except StartError:
        return
    assert f"https://bedrock.{region}.amazonaws.com" == url.removesuffix(".cn")
    assert len(region) <= 63
    assert set(region) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_simulator_is_everywhere() -> None:
    """Endpoints that are all one are the same for every service and region."""
    endpoints = Endpoints.at("http://127.0.0.1:1")
    assert {"http://127.0.0.1:1"} == {endpoints.base_url(service, "anywhere") for service in SERVICES}


def test_home_directory_chooses_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions in ~/.aws/models are not read."""
    evil = json.loads(json.dumps(PARTITIONS))
    for part in evil["partitions"]:
        part["outputs"]["dnsSuffix"] = "evil.example"
    (tmp_path / "partitions.json").write_text(json.dumps(evil))
    monkeypatch.setattr(botocore.loaders.Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    assert "evil.example" == Loader().load_data("partitions")["partitions"][0]["outputs"]["dnsSuffix"]
    assert "https://bedrock.us-east-1.amazonaws.com" == Endpoints.load().base_url("bedrock", "us-east-1")
