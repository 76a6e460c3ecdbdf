"""botocore's data is read as botocore itself reads it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from botocore.loaders import Loader

from bedrock_gateway.upstream.botocore_data import read_data, read_service

LOADER = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
SERVICES = [name for name in LOADER.list_available_services("service-2") if name.startswith("bedrock")]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ["service-2", "endpoint-rule-set-1", "paginators-1"])
def test_every_file_of_a_bedrock_service_is_read_as_botocore_reads_it(service: str, name: str) -> None:
    """The latest version, compressed or not, with what is merged into it."""
    theirs: Any = LOADER.load_service_model(service, name)

    assert theirs == read_service(service, name)


@pytest.mark.parametrize("name", ["partitions", "endpoints"])
def test_files_of_no_service_are_read_too(name: str) -> None:
    """Partitions and endpoints are botocore's."""
    assert LOADER.load_data(name) == read_data(name)


def test_some_services_have_several_versions() -> None:
    """Of several API versions the latest is read."""
    assert LOADER.load_service_model("cloudfront", "service-2") == read_service("cloudfront", "service-2")


@pytest.mark.parametrize(("service", "name"), [("no-such-service", "service-2"), ("bedrock", "no-such-file")])
def test_what_is_not_there_is_not_found(service: str, name: str) -> None:
    """A service or file botocore does not have is told apart from an empty one."""
    with pytest.raises(FileNotFoundError):
        read_service(service, name)


def test_reading_brings_no_http_client_with_it() -> None:
    """Nothing of botocore but its data is loaded."""
    code = (
        "import sys; from bedrock_gateway.upstream.models import load_operations; load_operations(); "
        "print([name for name in sys.modules if name.startswith(('urllib3', 'botocore.'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()
