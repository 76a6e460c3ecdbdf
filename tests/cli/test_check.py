"""``bedrock-gateway check``."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_gateway.cli import check, main
from bedrock_gateway.cli.terminal import Terminal
from bedrock_gateway.config import Config, load_config
from bedrock_gateway.metering.prices import PriceTable

ROOT = Path(__file__).parents[2]

DATA = Path(__file__).parent / "check"

PRICES = """\
us.amazon.nova-pro-v1:0:
  usd_per_million: {input: 0.80, output: 3.20}
amazon.my-rerank-v1:0:
  usd_per_million: {input: 0, output: 0}
  usd_per_unit: {queries: 0.002}
"""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process with only the given variables beside a harmless few."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "bedrock_gateway", "check", *arguments],
        cwd=ROOT,
        env={**kept, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def shown_of(config: Config, width: int | None = None) -> str:
    """Return what is printed of a config, on a terminal so wide or into a file."""
    out = io.StringIO()
    check.report(Terminal(out=out, width=width, colour=False), config, PriceTable.from_text(PRICES))
    return out.getvalue()


@pytest.mark.parametrize(("name", "expected"), [("config", "expected"), ("balancing", "balancing")])
def test_the_tables(name: str, expected: str) -> None:
    """Everything a config comes to is shown: aligned, with prices and warnings, without any secret."""
    config = load_config((DATA / f"{name}.yaml").read_bytes(), environ={"AWS_REGION": "eu-west-3"})
    shown = shown_of(config)

    assert (DATA / f"{expected}.txt").read_text(encoding="utf-8") == shown
    assert [] == [secret for secret in ("the-secret", "AKIA", "the-bearer", "the-master-key") if secret in shown]


def test_an_open_gateway_without_a_file() -> None:
    """Without a config the ambient deployment is all there is."""
    config = load_config(None, environ={"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "sk-x"})
    lines = shown_of(config).splitlines()

    assert ["DEPLOYMENT", "ambient (raw ids)"] == [line.split("  ")[0] for line in lines[:2]]
    assert "Routing    adaptive (default)" in lines
    assert "Balancing" not in lines
    assert "Access     open: loopback only, any key is accepted" in lines
    assert lines[-1].startswith("warning: environment: AWS_ACCESS_KEY_ID")


def test_the_example_is_fine() -> None:
    """The command loads the example, prints its table and ends with 0."""
    done = run("--config", "examples/config.yaml")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("DEPLOYMENT ")
    assert "no price" not in done.stdout


def test_it_fits_120_columns() -> None:
    """The example, which has everything, needs no line of more than 120 columns on a terminal that has as many."""
    config = load_config((ROOT / "examples" / "config.yaml").read_bytes(), environ={})
    lines = shown_of(config, 120).splitlines()

    assert 120 >= max(map(len, lines))
    assert [] == [line for line in lines if line.startswith("No room")]


@pytest.mark.parametrize(
    ("strategy", "rows"),
    [
        ("simple-shuffle", [["WEIGHT", "SHARE"], ["8", "50%"], ["(8)", "50%"], ["0", "0%"]]),
        ("adaptive", [["WEIGHT"], ["8"], ["(8)"], ["0"]]),
        ("least-busy", [["WEIGHT"], ["8"], ["0"]]),
    ],
)
def test_weights_are_told_as_they_count(strategy: str, rows: list[list[str]]) -> None:
    """A missing weight is the mean where weights count; the share is told where calls go by it."""
    params = "model: bedrock/amazon.nova-pro-v1:0, aws_region_name"
    text = (
        f"model_list:\n  - {{model_name: a, litellm_params: {{{params}: us-east-1, weight: 8}}}}\n"
        f"  - {{model_name: a, litellm_params: {{{params}: us-west-2}}}}\n"
        f"  - {{model_name: a, litellm_params: {{{params}: us-west-1, weight: 0}}}}\n"
        f"router_settings: {{routing_strategy: {strategy}}}\n"
    )
    lines = shown_of(load_config(text, environ={})).splitlines()
    start = lines.index("Balancing") + 1

    assert rows == [line.split()[1:] for line in lines[start : start + len(rows)]]
    assert f"Routing    {strategy}" in lines


def test_faults_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults are printed one a line in the shape editors understand, with exit status 2."""
    file = tmp_path / "config.yaml"
    file.write_text("model_lst: []\nmodel_list: []\nrouter_settings: {set_verbose: true}\n", encoding="utf-8")
    status = main(["check", "--config", str(file)])
    out, err = capsys.readouterr()

    assert (2, "") == (status, out)
    assert [
        f"{file}:1:1: model_lst is not a known key; did you mean 'model_list'?",
        f"{file}:2:13: model_list is empty; add an entry, or remove it to pass every model id through",
        f"warning: {file}:3:19: router_settings.set_verbose does nothing here",
        "2 faults",
    ] == err.splitlines()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.yaml", "there is no such file; --config takes the path of a config.yaml"),
        ("folder", "is a directory; --config takes the path of a config.yaml"),
        ("file/below.yaml", "cannot be read: Not a directory"),
        ("nul\0", "cannot be read: embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    """One clear line, exit status 2."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    status = main(["check", "--config", f"{tmp_path}/{name}"])

    assert (2, f"{tmp_path}/{name}: {expected}\n") == (status, capsys.readouterr().err)


def test_no_region_at_all() -> None:
    """Without a file and without a region there is one line, no traceback, exit status 2."""
    done = run()

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("environment: No AWS region. Set AWS_REGION_NAME")
    assert "Traceback" not in done.stderr


def test_the_region_of_a_profile(tmp_path: Path) -> None:
    """The region of a profile is read from the AWS config file."""
    file = tmp_path / "aws"
    file.write_text("[profile work]\nregion = ap-south-1\n", encoding="utf-8")
    done = run(AWS_CONFIG_FILE=str(file), AWS_PROFILE_NAME="work")

    assert (0, ["ap-south-1", "profile", "work"]) == (done.returncode, done.stdout.splitlines()[1].split()[3:6])


def test_what_this_machine_does_not_have_is_warned_of(tmp_path: Path) -> None:
    """A config may be checked elsewhere than where it serves: what serve would refuse here, and what it would warn of,
    are warnings.
    """
    file, aws = tmp_path / "config.yaml", tmp_path / "aws"
    file.write_text(
        "model_list:\n"
        "  - model_name: a\n    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-esat-1, "
        "aws_profile_name: nobody}\n"
        "  - model_name: b\n    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1, "
        "aws_profile_name: nobody, ssl_verify: /nope/ca.pem}\n"
        "general_settings: {master_key: sk-1234}\n",
        encoding="utf-8",
    )
    done = run("--config", str(file))

    assert (0, "") == (done.returncode, done.stderr)
    assert [
        "warning: serve does not start here: AWS profile 'nobody' is in none of the AWS config files.",
        "warning: serve does not start here: The CA bundle of deployment 'b' (/nope/ca.pem) cannot be used: No such "
        "file or directory.",
        "warning: the master key is weak: it is a well-known example",
        "warning: region 'us-esat-1' of deployment 'a' is none that botocore knows; did you mean 'us-east-1'?",
    ] == done.stdout.splitlines()[-4:]

    aws.write_text("[[[")
    done = run(AWS_CONFIG_FILE=str(aws), AWS_REGION="us-east-1")

    assert (0, "") == (done.returncode, done.stderr)
    told = f"warning: serve does not start here: AWS config: Unable to parse config file: {aws}"
    assert told == done.stdout.splitlines()[-1]


def test_aws_files_that_are_not_there_are_warned_of(tmp_path: Path) -> None:
    """A variable that names a file of AWS's where there is none is told; botocore's ways to write it are known."""
    (tmp_path / "config").write_text("[default]\nregion = ap-south-1\n")
    gone = tmp_path / "gone"
    done = run(AWS_CONFIG_FILE="$PLACE/config", PLACE=str(tmp_path), AWS_SHARED_CREDENTIALS_FILE=str(gone))

    assert (0, "") == (done.returncode, done.stderr)
    assert "ap-south-1" in done.stdout
    assert [f"warning: AWS_SHARED_CREDENTIALS_FILE: there is no file '{gone}', so that no profile is read from it"] == [
        line for line in done.stdout.splitlines() if line.startswith("warning: ")
    ]
    done = run(AWS_CONFIG_FILE="~/none", HOME=str(tmp_path), AWS_REGION="us-east-1")
    assert "warning: AWS_CONFIG_FILE: there is no file '~/none', so that no profile is read from it\n" in done.stdout


@pytest.mark.parametrize(
    ("services", "line"),
    [
        ("{}", None),
        ("{default: {aws_region_name: eu-west-3}}", None),
        ("{bedrock: {aws_region_name: us-east-1}}", "Services   us-east-1"),
        (
            "{bedrock: {aws_region_name: eu-west-3}, bedrock-agent: {aws_region_name: eu-west-3}}",
            "Services   us-east-1, but for their own; bedrock, bedrock-agent: eu-west-3",
        ),
    ],
)
def test_regions_of_services(services: str, line: str | None) -> None:
    """Where what no deployment names goes is shown, where something is said of a service."""
    text = f"general_settings: {{services: {services}, request_metadata: [call, tags]}}"
    lines = shown_of(load_config(text, environ={"AWS_REGION": "us-east-1"})).splitlines()

    assert ([] if line is None else [line]) == [one for one in lines if one.startswith("Services")]
    assert "Metadata   call, tags: written into the request metadata of calls" in lines


def test_a_config_that_holds_its_keys_is_read_without_botocores_session(tmp_path: Path) -> None:
    """Where there are no AWS config files, nobody imports what would read them."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list:\n  - model_name: nova\n    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, "
        "aws_region_name: us-east-1, aws_access_key_id: AKIA, aws_secret_access_key: hush}\n",
        encoding="utf-8",
    )
    code = (
        "import sys; from bedrock_gateway.cli.configured import read_config; "
        "read_config(sys.argv[1], {}); print('botocore.session' in sys.modules)"
    )
    environment = {"HOME": str(tmp_path)}

    done = [subprocess.run([sys.executable, "-c", code, str(file)], env=environment, capture_output=True, text=True)]
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-1\n")
    done.append(
        subprocess.run([sys.executable, "-c", code, str(file)], env=environment, capture_output=True, text=True)
    )

    assert ["False\n", "True\n"] == [one.stdout for one in done]


def test_a_misspelt_operation_is_warned_of(tmp_path: Path) -> None:
    """What virtual keys may call by default is held against the operations there are."""
    file = tmp_path / "config.yaml"
    file.write_text("general_settings: {default_allowed_operations: [ListAsyncInvokes, InvokeAgnt]}\n")

    done = run("--config", str(file), AWS_REGION="us-east-1")

    assert (0, "") == (done.returncode, done.stderr)
    assert [
        f"warning: {file}:1:67: general_settings.default_allowed_operations: 'InvokeAgnt' names no operation; did you "
        "mean InvokeAgent?"
    ] == [line for line in done.stdout.splitlines() if line.startswith("warning: ") and "operation" in line]


def test_a_terminal_that_cannot_show_a_name(tmp_path: Path) -> None:
    """A group's name in another script is escaped where the terminal has no letters for it."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list:\n  - model_name: 模型\n"
        "    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}\n",
        encoding="utf-8",
    )
    done = run("--config", str(file), PYTHONIOENCODING="ascii")

    assert (0, "") == (done.returncode, done.stderr)
    assert "\\u6a21\\u578b" in done.stdout
