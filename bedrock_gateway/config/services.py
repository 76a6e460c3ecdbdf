"""``general_settings.services``: the ambient deployment of each service, for what no config names.

Knows the services the gateway calls and what may be said of each; what is not said comes from the environment.
"""

from __future__ import annotations

from types import MappingProxyType

from bedrock_gateway.config.credentials import credentials
from bedrock_gateway.config.document import Entry
from bedrock_gateway.config.keys import CREDENTIAL_KEYS
from bedrock_gateway.config.reading import Section, nearest
from bedrock_gateway.config.surroundings import RUNTIME, SERVICES, Surroundings, bad_url
from bedrock_gateway.errors import Fault
from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.table import stable_id

__all__ = ["services"]


def services(general: Section, around: Surroundings, source: CredentialSource) -> tuple[tuple[str, Deployment], ...]:
    """Return the ambient deployment of each service: the environment, and over it ``general_settings.services``."""
    section = general.section("services")
    for key, entry in section:
        if key != "default" and key not in SERVICES:
            names = ("default", *SERVICES)
            message = f"{section.name(key)} is not a known key ({', '.join(names)}){nearest(key, names)}"
            section.reader.fault(entry.line, entry.column, message)
    shared = section.section("default")
    _check_service(shared)
    found: list[tuple[str, Deployment]] = []
    urls: dict[str, str] = around.store_endpoint()
    # One for all of them: a model that is called through one service is looked up at another.
    endpoints = MappingProxyType(urls)
    for service in SERVICES:
        own = section.section(service)
        _check_service(own)
        entries: dict[str, Entry] = {**shared.entries, **own.entries}
        line, column = (own.line, own.column) if service in section else (shared.line, shared.column)
        params = Section(general.reader, own.path if service in section else shared.path, entries, line, column)
        signs = credentials(params, around, source)
        region = params.text("aws_region_name")
        if region is None and "aws_region_name" not in params:
            region = around.region(signs.profile)
            trouble = around.bad_region(region) if region else ""
            if trouble and around.forbids(region):
                # Deployments may all have regions of their own: then nothing but what no config names goes without one.
                around.warn(f"the AWS region: {trouble}; it is not used")
                region = ""
            elif trouble:
                general.reader.faults.append(Fault("environment", 0, 0, f"the AWS region: {trouble}"))
        elif region is not None and around.bad_region(region):
            owner = own if "aws_region_name" in own else shared
            owner.fault("aws_region_name", f"{owner.name('aws_region_name')}: {around.bad_region(region)}")
        base_url = params.text("endpoint")
        if base_url is not None and bad_url(base_url):
            params.fault("endpoint", f"{params.name('endpoint')} {bad_url(base_url)}")
        if base_url is None:
            base_url = around.service_endpoint(service)
        base_url = base_url.rstrip("/") if base_url else None
        if base_url:
            urls[service] = base_url
        name = "ambient" if service == RUNTIME else f"ambient-{service}"
        identity = (signs.access_key_id or "", signs.profile or "", signs.role_arn or "")
        found.append(
            (
                service,
                Deployment(
                    id=stable_id("", name, region or "", base_url or "", signs.kind.value, *identity),
                    name=name,
                    model_group="",
                    model_id="",
                    price_model="",
                    region=region or "",
                    credentials=signs,
                    endpoints=endpoints,
                    ssl_verify=around.verify(),
                ),
            )
        )
    return tuple(found)


def _check_service(section: Section) -> None:
    known = CREDENTIAL_KEYS | {"aws_region_name", "endpoint"}
    for key, entry in section:
        if key not in known:
            section.reader.fault(
                entry.line, entry.column, f"{section.name(key)} is not a known key{nearest(key, known)}"
            )
    if section.path.endswith(".default") and "endpoint" in section:
        section.fault(
            "endpoint",
            f"{section.name('endpoint')}: an endpoint is one service's; give it under that ({', '.join(SERVICES)})",
        )
