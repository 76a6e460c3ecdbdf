"""What callers say of their calls does nothing to the money of others, and nothing they write goes unseen."""

from __future__ import annotations

import json
from pathlib import Path

from administering import LOCKED, administer, call, new_key
from running import running


async def test_a_tag_with_a_budget_is_not_for_everybody_to_name(tmp_path: Path) -> None:
    """A call that names a tag with a budget, which its key does not have, spends nothing of that budget."""
    async with running(tmp_path, LOCKED) as here:
        await administer(here, "/tag/new", {"name": "night", "max_budget": 5})
        await administer(here, "/tag/new", {"name": "noted"})
        await administer(here, "/tag/new", {"name": "late", "soft_budget": 5})
        mine, other = await new_key(here, tags=["night"]), await new_key(here)
        for key in (mine, other):
            assert 200 == (await call(here, key, x_litellm_tags="night,noted,late,plain"))[0]
        await here.settled()
        tags = [json.loads(row["tags"]) for row in here.rows("SELECT tags FROM calls ORDER BY id")]
        spent = {row["account"]: row["spend"] for row in here.rows("SELECT account, spend FROM accounts")}
        (one,) = {row["spend"] for row in here.rows("SELECT spend FROM attempts")}

    assert [["night", "noted", "other", "plain"], ["other", "noted", "plain"]] == tags
    assert (one, 2 * one, None) == (spent["tag:night"], spent["tag:noted"], spent.get("tag:late"))


async def test_tags_beyond_those_of_one_call_use_up_nothing(tmp_path: Path) -> None:
    """A header of a thousand tags counts as ten: the labels of the key's other calls stay their own."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        await call(here, key, x_litellm_tags=",".join(map(str, range(1200))))
        await call(here, key, x_litellm_tags="mine")
        await here.settled()
        tags = [json.loads(row["tags"]) for row in here.rows("SELECT tags FROM calls ORDER BY id")]

    assert [[str(number) for number in range(10)], ["mine"]] == tags
