"""What a user installs: the wheel, alone, in an environment that has nothing of the tests'."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bedrock_gateway._version import VERSION

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("setup.cfg", "setup.py", "README.md", "LICENSE", "bedrock_gateway")
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")

# The first test waits for pip: a build environment, and every dependency into a new virtual environment.
pytestmark = pytest.mark.timeout(240)


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LITELLM_", "PYTHON"))}
    environment = kept | {"HOME": str(folder), "XDG_STATE_HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=230)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tree, so that nothing an earlier build left behind gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(
        [sys.executable, *PIP, "wheel", "--no-deps", "--use-pep517", "--wheel-dir", "dist", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new virtual environment; return the environment's folder of commands."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=100)
    done = subprocess.run(
        [folder / "bin" / "python", *PIP, "install", wheel], cwd=folder, capture_output=True, text=True, timeout=230
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module and data file of the package is in the wheel; tests, examples and caches are not."""
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "bedrock_gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert expected == held


def test_the_wheel_tells_its_version_and_license(wheel: Path) -> None:
    """The wheel's name carries the package's version, and the license travels with it."""
    names = zipfile.ZipFile(wheel).namelist()

    assert f"bedrock_gateway-{VERSION}-py3-none-any.whl" == wheel.name
    assert ["LICENSE"] == [Path(name).name for name in names if name.endswith("LICENSE")]


def test_the_command_runs_without_test_requirements(installed: Path, tmp_path: Path) -> None:
    """``bedrock-gateway --version`` answers in an environment that only the wheel and its requirements are in."""
    done = run(installed / "bedrock-gateway", "--version", folder=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert VERSION in done.stdout


def test_the_module_is_the_command(installed: Path, tmp_path: Path) -> None:
    """``python -m bedrock_gateway`` says the same as the command."""
    done = run(installed / "python", "-m", "bedrock_gateway", "--version", folder=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert VERSION in done.stdout


def test_the_example_config_is_accepted(installed: Path, tmp_path: Path) -> None:
    """``check`` takes the example config of the tree, whose variables are set as it says, and shows no secret."""
    shutil.copy(ROOT / "examples" / "config.yaml", tmp_path)
    done = run(installed / "bedrock-gateway", "check", "--config", "config.yaml", folder=tmp_path)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "claude" in done.stdout


def test_installing_left_requirements_whole(installed: Path, tmp_path: Path) -> None:
    """``pip check`` finds no requirement missing or at odds with another."""
    done = run(installed / "python", *PIP, "check", folder=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)


def test_nothing_of_the_tests_is_required(installed: Path, tmp_path: Path) -> None:
    """The wheel alone brings neither test tools nor the optional loop."""
    code = (
        "import importlib.util as u; print([n for n in ('pytest', 'hypothesis', 'boto3', 'uvloop') if u.find_spec(n)])"
    )

    done = run(installed / "python", "-c", code, folder=tmp_path)

    assert ("[]\n", "") == (done.stdout, done.stderr)
