"""Globs of models and operations: what fits them, and that no glob costs more than a look."""

from __future__ import annotations

import fnmatch
import re
import time

from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.callers import Policy
from bedrock_gateway.access.rights import may_operate, may_use


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=12))
def test_a_glob_fits_what_its_stars_can_stand_for(glob: str, name: str) -> None:
    """A star stands for any text, none included; everything else stands for itself."""
    expected = name == glob or re.fullmatch(fnmatch.translate(glob), name) is not None

    assert expected == may_use(Policy(models=((glob,),)), "", [name])


def test_a_glob_of_many_stars_costs_nothing() -> None:
    """Stars in a key's lists, of which its maker may write hundreds, do not multiply each other's work."""
    begun = time.process_time()

    assert not may_use(Policy(models=(("*a" * 120 + "b",),)), "", ["anthropic." + "a" * 2000])
    assert not may_operate(Policy(operations=("*" * 250 + "x",)), "bedrock-runtime", "InvokeModelWithResponseStream")
    assert time.process_time() - begun < 1
