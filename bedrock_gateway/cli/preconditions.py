"""What a config needs of the machine it runs on, as far as that can be told without the network: ``serve`` does not
start without it, ``check`` warns of it. Knows where to look; decides nothing.
"""

from __future__ import annotations

import os.path
import ssl
from collections.abc import Iterator, Mapping

from bedrock_gateway.cli.configured import AWS_FILES, aws_path
from bedrock_gateway.config.reading import nearest
from bedrock_gateway.config.settings import Config, master_key_weakness
from bedrock_gateway.errors import StartError
from bedrock_gateway.routing.deployments import CredentialKind
from bedrock_gateway.upstream.botocore_data import read_data

__all__ = ["doubts", "obstacles"]


def obstacles(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield why calls of a deployment cannot but fail here, each reason once."""
    yield from dict.fromkeys(_without_credentials(config, environ))
    yield from _bad_bundles(config)


def doubts(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what is most likely meant otherwise.

    Args:
        environ: environment variables, where AWS's are used.
    """
    key = config.general.master_key
    weakness = None if key is None else master_key_weakness(key)
    if weakness is not None:
        yield f"the master key is weak: {weakness}"
    yield from _unknown_regions(config)
    yield from _missing_files(environ)


def _without_credentials(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield which sources of credentials cannot be there; what needs the network is asked later."""
    sources = [deployment.credentials for deployment in config.deployments]
    # Without a model_list every call is an ambient one.
    if not sources:
        sources = [deployment.credentials for _, deployment in config.ambient]
    sources = [source for source in sources if source.kind is not CredentialKind.STATIC]
    if sources:
        # botocore's session, and all it imports: not where a config holds its keys.
        from bedrock_gateway.upstream.sources import check_source

        for source in sources:
            try:
                check_source(source, environ)
            except StartError as error:
                yield str(error)


def _bad_bundles(config: Config) -> Iterator[str]:
    """Yield which CA bundles cannot be used."""
    bundles: dict[str, str] = {}
    for deployment in (*config.deployments, *(deployment for _, deployment in config.ambient)):
        if isinstance(deployment.ssl_verify, str):
            bundles.setdefault(deployment.ssl_verify, deployment.name)
    for bundle, name in bundles.items():
        try:
            ssl.create_default_context(cafile=bundle)
        except OSError as error:
            yield f"The CA bundle of deployment {name!r} ({bundle}) cannot be used: {error.strerror or error}."


def _missing_files(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield which variables name a file of AWS's that is not there: botocore says nothing of it."""
    for name, _ in AWS_FILES:
        path = environ.get(name)
        if path and not os.path.exists(aws_path(path)):
            yield f"{name}: there is no file {path!r}, so that no profile is read from it"


def _unknown_regions(config: Config) -> Iterator[str]:
    """Yield which regions are none that botocore has the name of: they may be newer than it, or misspelt."""
    regions: dict[str, str] = {}
    for deployment in (*config.deployments, *(deployment for _, deployment in config.ambient)):
        if deployment.region:
            regions.setdefault(deployment.region, deployment.name)
    known = {name for partition in read_data("partitions")["partitions"] for name in partition["regions"]}
    for region, name in regions.items():
        if region not in known:
            yield f"region {region!r} of deployment {name!r} is none that botocore knows{nearest(region, known)}"
