"""``serve --simulate`` as somebody starts it who only wants to see it work: nothing set around it is in its way."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from process import ROOT, Command

CONFIG = """
model_list:
  - model_name: my model
    litellm_params: {model: bedrock/us.amazon.nova-lite-v1:0, aws_region_name: us-east-1}
general_settings: {master_key: sk-0123456789abcdefghijklmn}
"""


def lines_of(greeting: list[str]) -> list[str]:
    """Return the lines to paste."""
    return [line for line in greeting if line.startswith("curl ") or " -c " in line or " spend " in line]


def test_surroundings_do_not_matter(tmp_path: Path) -> None:
    """An empty region and somebody else's database are no reason not to start in front of the simulator."""
    environ = {"AWS_REGION": "", "DATABASE_URL": "postgresql://user:pencil@host/db"}

    with Command.start(tmp_path, "--simulate", "--port", "0", environ=environ) as gateway:
        gateway.until(r" spend --database \S+/ledger-simulated\.db$")


def test_lines_to_paste_fit_the_socket_and_the_config(tmp_path: Path) -> None:
    """On a unix socket no line for boto3 is printed; names and paths are quoted; the key's variable is told, not it."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    folder = tmp_path / "a folder"
    folder.mkdir()
    options = ("--config", "config.yaml", "--unix-socket", f"{folder}/socket", "--database", f"{folder}/ledger.db")

    with Command.start(tmp_path, "--simulate", *options, environ={}) as gateway:
        gateway.until(r" spend --database ")
        curl, spend = lines_of(gateway.out)
        key = {"LITELLM_MASTER_KEY": "sk-0123456789abcdefghijklmn"}
        answered = subprocess.run(
            ["sh", "-c", curl], env={**os.environ, **key}, capture_output=True, text=True, timeout=20, check=True
        )
        report = subprocess.run(["sh", "-c", spend], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)

    assert '"stopReason":"end_turn"' in answered.stdout
    assert re.search(r"us\.amazon\.nova-lite-v1:0 +1 ", report.stdout)
    greeting = "\n".join(gateway.out)
    assert " (with LITELLM_MASTER_KEY set to the master key):" in greeting
    assert key["LITELLM_MASTER_KEY"] not in greeting
