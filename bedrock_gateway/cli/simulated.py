"""``serve --simulate``: the embedded simulator in place of AWS."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

import attrs

from bedrock_gateway.config.settings import Config
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment
from bedrock_gateway.simulator import SIMULATOR_CREDENTIALS, Pace, Simulator

__all__ = ["demo", "simulated"]

#: Paced like a model, so that streaming can be seen.
DEMO_PACE = Pace(first_token_ms=200, tokens_per_second=80)
#: Requests kept in memory; nobody looks at them here.
KEPT = 100


def demo() -> AbstractAsyncContextManager[str]:
    """Run a simulator on a free port of this machine; gives its base URL."""
    return Simulator(credentials=SIMULATOR_CREDENTIALS, pace=DEMO_PACE, keep=KEPT).serve(port=0)


def simulated(config: Config) -> Config:
    """Return a config whose every deployment goes to the simulator, with its credentials."""
    key_id, (secret, token) = next(iter(SIMULATOR_CREDENTIALS.items()))
    source = CredentialSource(
        kind=CredentialKind.STATIC, access_key_id=key_id, secret_access_key=secret, session_token=token
    )

    def moved(deployment: Deployment) -> Deployment:
        return attrs.evolve(deployment, credentials=source, endpoints=MappingProxyType({}), ssl_verify=True)

    return attrs.evolve(
        config,
        deployments=tuple(moved(deployment) for deployment in config.deployments),
        ambient=tuple((service, moved(deployment)) for service, deployment in config.ambient),
        added=attrs.evolve(config.added, moved=moved),
    )
