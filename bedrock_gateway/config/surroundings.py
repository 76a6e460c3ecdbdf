"""What the environment says that a config hangs on: regions, credentials, base URLs, proxies. Handed in as a mapping;
reads nothing by itself.

Source: AWS SDKs and Tools Reference Guide, "Environment variables" and "Service-specific endpoints"; LiteLLM
documentation, "AWS Bedrock" (its own variables).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from ipaddress import ip_address
from urllib.parse import urlsplit

import attrs

from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.config.keys import ENDPOINT_KEYS
from bedrock_gateway.config.reading import nearest
from bedrock_gateway.errors import Fault
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource
from bedrock_gateway.routing.model_names import REGION
from bedrock_gateway.wire.proxies import DIRECT, Proxies

__all__ = ["RUNTIME", "SERVICES", "Surroundings", "bad_url", "is_client_key", "kind_of"]

#: Variables that name a region, first one wins.
REGION_VARIABLES = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")

#: Services of AWS the gateway calls, by their endpoint's name.
SERVICES = tuple(ENDPOINT_KEYS)
#: The one that models are called through.
RUNTIME = SERVICES[0]
#: End of the file of a gateway's own certificate authority (``downstream.certificates``).
OWN_BUNDLE = "/tls/ca.pem"
#: AWS's own variable for the base URL of every service, and those of each (AWS SDKs and Tools Reference Guide,
#: "Service-specific endpoints").
ANY_ENDPOINT = "AWS_ENDPOINT_URL"
ENDPOINT_OF = {service: f"{ANY_ENDPOINT}_{service.upper().replace('-', '_')}" for service in SERVICES}
#: Variables that hold a base URL.
ENDPOINT_VARIABLES = (
    "AWS_BEDROCK_RUNTIME_ENDPOINT",
    "AWS_STS_ENDPOINT",
    ANY_ENDPOINT,
    f"{ANY_ENDPOINT}_S3",
    *ENDPOINT_OF.values(),
)

_BAD_REGION = "does not look like an AWS region (us-east-1, eu-central-1, …)"


def is_client_key(value: str, master_key: str | None = None) -> bool:
    """Tell whether a key in the environment is one for a gateway and not for AWS: the developer's own client's."""
    return value.startswith(("sk-", "BGKI")) or value.lower() == "dummy" or (bool(master_key) and value == master_key)


@attrs.define(eq=False)
class Surroundings:
    """What the environment says, read once.

    Attributes:
        environ: environment variables.
        profile_region: gives the region of a profile (None: the default one) out of the AWS config files, or None.
        regions: regions that exist; empty means any that looks like one.
        allowed_regions: regions that may be used; empty means any.
        calendar: time zone whose days and months budgets go by.
        operations: gives what operations can be called, or None where nobody knows.
        warnings: what was passed over.
    """

    environ: Mapping[str, str] = attrs.field(repr=False)
    profile_region: Callable[[str | None], str | None] = attrs.field(repr=False)
    regions: frozenset[str] = frozenset()
    allowed_regions: frozenset[str] = frozenset()
    calendar: tzinfo = UTC
    operations: Callable[[], OperationNames | None] = attrs.field(default=lambda: None, repr=False)
    warnings: list[Fault] = attrs.field(factory=list)

    def get(self, name: str) -> str | None:
        """Return a variable, or None where it is unset, empty or blank."""
        return self.environ.get(name, "").strip() or None

    def endpoint(self, name: str) -> str | None:
        """Return a base URL out of a variable, without a trailing slash, or None."""
        value = self.get(name)
        return value.rstrip("/") if value else None

    def service_endpoint(self, service: str) -> str | None:
        """Return the base URL that the environment gives a service of AWS, without a trailing slash, or None.

        One that ends in ``/bedrock`` leads to a gateway like this one: it is the developer's own client's, and is
        passed over with a warning.
        """
        if service == RUNTIME and (url := self.endpoint("AWS_BEDROCK_RUNTIME_ENDPOINT")):
            return url
        if self.switched_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        for name in (ENDPOINT_OF[service], ANY_ENDPOINT):
            url = self.endpoint(name)
            if url is None:
                continue
            if not url.endswith("/bedrock"):
                return url
            self._passed_over(name, "leads to a gateway (it ends in /bedrock): taken for your client's own")
        return None

    def store_endpoint(self) -> dict[str, str]:
        """Return the base URL of S3 by its name, where the environment has one: batch jobs leave their counts there."""
        url = self.endpoint(f"{ANY_ENDPOINT}_S3")
        return {} if url is None else {"s3": url}

    def proxies(self) -> tuple[Proxies, list[Fault]]:
        """Return the proxies of the environment, and what is wrong with them."""
        no_proxy = self.get("no_proxy") or self.get("NO_PROXY")
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            if value := self.get(name):
                try:
                    return Proxies.read(value, no_proxy), []
                except ValueError as error:
                    return DIRECT, [Fault("environment", 0, 0, f"{name} {error}")]
        return DIRECT, []

    def verify(self) -> bool | str:
        """Return how AWS's certificates are verified where nothing else says so: by a bundle, or by the system's own.

        A bundle of a gateway's own authority (``serve --tls``) is the developer's own client's, and is passed over.
        """
        if (self.get("SSL_VERIFY") or "").lower() == "false":
            return False
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            bundle = self.get(name)
            if bundle is None:
                continue
            if not bundle.endswith(OWN_BUNDLE):
                return bundle
            self._passed_over(name, "is the CA of a gateway, not of AWS: taken for your client's own")
        return True

    def switched_on(self, name: str) -> bool:
        """Tell whether a variable that is true or false is true."""
        return (self.get(name) or "").lower() == "true"

    def bad_endpoints(self) -> list[Fault]:
        """Return a fault for each variable that should hold a base URL and does not."""
        found = [(name, bad_url(value)) for name in ENDPOINT_VARIABLES if (value := self.get(name))]
        return [Fault("environment", 0, 0, f"{name} {trouble}") for name, trouble in found if trouble]

    def credentials(self, master_key: str | None) -> CredentialSource:
        """Return the ambient credentials: LiteLLM's variables, else AWS's own chain.

        A bearer token or access key id that is one of a gateway's keys is passed over with a warning.
        """
        bearer, key_id = self.get("AWS_BEARER_TOKEN_BEDROCK"), self.get("AWS_ACCESS_KEY_ID")
        secret, ignored = self.get("AWS_SECRET_ACCESS_KEY"), False
        if bearer and is_client_key(bearer, master_key):
            self._passed_over(
                "AWS_BEARER_TOKEN_BEDROCK", "is a key of a gateway, not of AWS: taken for your client's own"
            )
            bearer = None
        if key_id and is_client_key(key_id, master_key):
            self._passed_over("AWS_ACCESS_KEY_ID", "is no access key id of AWS: taken for your client's own")
            key_id, ignored = None, True
        elif key_id and not secret:
            self._passed_over("AWS_ACCESS_KEY_ID", "is set without AWS_SECRET_ACCESS_KEY: set both")
            key_id, ignored = None, True
        static = key_id is not None
        token, role = self.get("AWS_WEB_IDENTITY_TOKEN"), self.get("AWS_ROLE_NAME")
        profile = self.get("AWS_PROFILE_NAME")
        kind = kind_of(bearer, token if role else None, role, profile, key_id)
        assumed = kind in (CredentialKind.WEB_IDENTITY, CredentialKind.ROLE)
        keys = static and kind in (CredentialKind.STATIC, CredentialKind.ROLE) and not (assumed and profile)
        return CredentialSource(
            kind=kind,
            bearer=bearer if kind is CredentialKind.BEARER else None,
            access_key_id=key_id if keys else None,
            secret_access_key=secret if keys else None,
            session_token=self.get("AWS_SESSION_TOKEN") if keys else None,
            profile=profile if kind in (CredentialKind.PROFILE, CredentialKind.ROLE) else None,
            role_arn=role if assumed else None,
            role_session_name=self.get("AWS_SESSION_NAME") if assumed else None,
            external_id=self.get("AWS_EXTERNAL_ID") if kind is CredentialKind.ROLE else None,
            web_identity_token=token if kind is CredentialKind.WEB_IDENTITY else None,
            sts_endpoint=self.endpoint("AWS_STS_ENDPOINT") if assumed else None,
            ignore_environment=ignored and kind in (CredentialKind.AMBIENT, CredentialKind.ROLE),
            of_environment=True,
        )

    def region(self, profile: str | None) -> str:
        """Return the region of the environment, else a profile's, else ""; ``bad_region`` tells if it may be used."""
        for name in REGION_VARIABLES:
            value = self.get(name)
            if value:
                return value
        return self.profile_region(profile or self.get("AWS_PROFILE_NAME")) or ""

    def bad_region(self, value: str) -> str:
        """Return what is wrong with a region, or ""."""
        if not REGION.fullmatch(value):
            return f"{value[:60]!r} {_BAD_REGION}"
        if self.regions and value not in self.regions:
            return f"{value!r} is not a region of AWS{nearest(value, self.regions)}"
        if self.allowed_regions and value not in self.allowed_regions:
            return f"region {value!r} is not in general_settings.allowed_regions"
        return ""

    def forbids(self, value: str) -> bool:
        """Tell whether nothing is wrong with a region but that it may not be used here."""
        return REGION.fullmatch(value) is not None and bool(self.allowed_regions) and value not in self.allowed_regions

    def warn(self, message: str) -> None:
        """Note a warning about the environment; the same one twice counts once."""
        warning = Fault("environment", 0, 0, message)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _passed_over(self, name: str, why: str) -> None:
        self.warn(f"{name} {why}; it is ignored")


def kind_of(
    bearer: str | None, web_token: str | None, role: str | None, profile: str | None, key_id: str | None
) -> CredentialKind:
    """Return the first kind whose parameters are there."""
    for given, kind in (
        (bearer, CredentialKind.BEARER),
        (web_token, CredentialKind.WEB_IDENTITY),
        (role, CredentialKind.ROLE),
        (profile, CredentialKind.PROFILE),
        (key_id, CredentialKind.STATIC),
    ):
        if given:
            return kind
    return CredentialKind.AMBIENT


def bad_url(value: str) -> str:
    """Return what is wrong with a base URL, or ""."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL (https://host:port)"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with https:// (or http://) and name a host"
    if port == 0:
        return "names port 0"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password"
    if parts.query or parts.fragment or any(char.isspace() or not char.isprintable() for char in value):
        return "must hold nothing after the path"
    if ":" in host:
        try:
            ip_address(host.partition("%")[0])
        except ValueError:
            return "is not a URL (https://host:port)"
    return ""
