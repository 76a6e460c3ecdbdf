"""What binds a call: the budgets it counts against and the limits it is under, sorted once for all calls that are
alike. Pure; knows no amounts.
"""

from __future__ import annotations

import attrs

from bedrock_gateway.access.limits import Limit
from bedrock_gateway.access.purses import Charge

__all__ = ["Restraints"]


@attrs.frozen(kw_only=True, eq=False)
class Restraints:
    """Budgets and limits.

    Attributes:
        charges: every budget; hard: those no call may pass; soft: those that are warned of.
        limits: name and limit; tokens: whether one of them is on tokens.
    """

    charges: tuple[Charge, ...] = ()
    limits: tuple[tuple[str, Limit], ...] = ()
    hard: tuple[Charge, ...] = attrs.field(init=False)
    soft: tuple[Charge, ...] = attrs.field(init=False)
    tokens: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        hard = tuple(charge for charge in self.charges if charge.budget.limit is not None)
        soft = tuple(charge for charge in self.charges if charge.budget.soft is not None)
        object.__setattr__(self, "hard", hard)
        object.__setattr__(self, "soft", soft)
        object.__setattr__(self, "tokens", any(limit.tokens is not None for _, limit in self.limits))

    def also(self, charges: tuple[Charge, ...], limits: tuple[tuple[str, Limit], ...]) -> Restraints:
        """Return these and more."""
        return Restraints(charges=self.charges + charges, limits=self.limits + limits)
