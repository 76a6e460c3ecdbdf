"""What accounts have spent, for those who ask out of interest: read from committed rows, beside whatever is being
booked. Amounts are nano-USD.
"""

from __future__ import annotations

import sqlite3

__all__ = ["model_spends", "spend_since"]


def spend_since(connection: sqlite3.Connection, account: str, quarter: int) -> int:
    """Return what an account has spent from a quarter-hour (counted from the epoch) on."""
    (spend,) = connection.execute(
        "SELECT coalesce(sum(spend), 0) FROM accounts WHERE account = ? AND quarter >= ?", (account, quarter)
    ).fetchone()
    return int(spend)


def model_spends(connection: sqlite3.Connection, caller: str) -> dict[str, int]:
    """Return what a caller has spent in all, by model group."""
    prefix = f"model:{caller}/"
    rows = connection.execute(
        # "0" is the character behind "/".
        "SELECT account, sum(spend) FROM accounts WHERE account >= ? AND account < ? GROUP BY account",
        (prefix, f"model:{caller}0"),
    )
    return {account.removeprefix(prefix): spend for account, spend in rows}
