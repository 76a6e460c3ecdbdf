"""The virtual key a gateway is measured with: budgets and limits at every level, all of them far from reached.

Made over the admin API of a running gateway, as an operator would. Amounts are USD.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

__all__ = ["fetch", "make_key"]

SECONDS = 30.0
_LIMITS = {"rpm_limit": 100_000_000, "tpm_limit": 100_000_000_000, "max_parallel_requests": 10_000}
_BUDGET = {"max_budget": 1_000_000.0, "budget_duration": "30d"}


def fetch(port: int, path: str, key: str, body: object = None) -> tuple[float, bytes]:
    """Send one request to the admin API, by POST where there is a body; return the seconds it took and the answer.

    Raises:
        RuntimeError: it was not answered with 200.
    """
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, headers=headers)
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            answered: bytes = answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        status, answered = error.code, error.read()
    except OSError as error:
        status, answered = 0, str(error).encode()
    took = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"{path.partition('?')[0]} answered {status}: {answered[:200].decode(errors='replace')}")
    return took, answered


def make_key(port: int, master_key: str) -> str:
    """Make a user, a team and a key of both, each with budgets and limits of its own; return the key.

    Raises:
        RuntimeError: the gateway did not make them.
    """
    owners = {"user_id": "bench-user", "team_id": "bench-team"}
    fetch(port, "/user/new", master_key, {"user_id": "bench-user", "auto_create_key": False, **_BUDGET, **_LIMITS})
    fetch(port, "/team/new", master_key, {"team_id": "bench-team", **_BUDGET, **_LIMITS})
    wanted = {"key_alias": "bench", "soft_budget": 900_000.0, **owners, **_BUDGET, **_LIMITS}
    _, answered = fetch(port, "/key/generate", master_key, wanted)
    key: str = json.loads(answered)["key"]
    return key
