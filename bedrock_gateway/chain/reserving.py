"""Money and limits of a call: taken all together before anything is sent, or not at all.

Everything is looked at and taken without waiting in between, so parallel calls cannot take the same room twice. The
middleware awaits it all the same: what was spent before is asked of the ledger first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from bedrock_gateway.access.budgets import Budget, Charge, OverBudget, Reservation
from bedrock_gateway.access.callers import OnBudget
from bedrock_gateway.access.directory import EndUser
from bedrock_gateway.access.limits import Limit, OverLimit
from bedrock_gateway.access.restraints import Restraints
from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.booking import off_record, usd
from bedrock_gateway.chain.bounds import bound_on, estimated_tokens, measure
from bedrock_gateway.chain.call import Admission, Call
from bedrock_gateway.dialects.clamp import clamp
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import AccessDenied, BudgetExhausted, StoreError, Throttled
from bedrock_gateway.metering.bounding import Bound
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.resolutions import Resolution, budget_names

__all__ = ["charge_of", "hold", "reserve", "restraints_of"]

#: Tokens below which a clamped answer would be of no use.
LEAST_ANSWER = 16
#: How often a clamped call tries again when others took the room meanwhile.
MOST_CLAMPS = 4
_WORDS = {"requests": "requests a minute", "tokens": "tokens a minute", "parallel": "calls at once"}


async def reserve(call: Call, end_user: EndUser | None) -> None:
    """Hold what a call can cost at most in every budget it counts against, and take its places under every limit.

    Raises:
        BudgetExhausted: a budget has not enough left.
        Throttled: a limit is reached.
        AccessDenied: nothing bounds what the call can cost, and a hard budget is concerned.
        InvalidRequest: the body cannot be read for it.
        Unavailable: the ledger cannot be asked what was spent.
    """
    caller, target = call.caller, call.target
    assert caller is not None and target is not None
    policy = caller.policy
    restraints = restraints_of(call)
    if end_user is not None and (end_user.charges or end_user.limits):
        restraints = restraints.also(end_user.charges, end_user.limits)
    if not restraints.charges and not restraints.limits:
        return
    admission = call.admission = Admission(charges=restraints.charges)
    hard = () if target.operation.free else restraints.hard
    if hard or restraints.tokens:
        await measure(call, admission)
    amount = 0
    if hard:
        amount = _amount(call, admission, hard)
        if not amount and not policy.allow_unbounded:
            # Paid by the hour, or without charge: it runs, however little is left.
            hard = ()
    budgets, clock = call.gateway.budgets, call.gateway.clock
    clamps = 0
    while True:
        # It is admitted now: its head may have come in a window that is over since.
        call.started_at = clock.admitted_ms()
        if restraints.charges and not budgets.ready(restraints.charges, call.started_at):
            # Also after a clamp: what was known may have been forgotten meanwhile.
            await know(call, restraints.charges)
            call.started_at = clock.admitted_ms()
        try:
            _take(call, admission, hard, amount, restraints.limits)
            break
        except OverBudget as over:
            _alert(call, over)
            clamps += 1
            if policy.on_budget is not OnBudget.CLAMP or clamps > MOST_CLAMPS:
                raise _refused(over, _bounds(call, admission)) from over
            amount = await _clamp(call, admission, over)
    if hard:
        # What it asks for is known by now for every model it may end at; the body itself may be large.
        admission.document = None
    _tell(call, admission, restraints)


def restraints_of(call: Call) -> Restraints:
    """Return what binds a call, whoever it is made for.

    Raises:
        AccessDenied: it would go round budgets or limits of a model.
    """
    assert call.caller is not None and call.resolution is not None
    policy = call.caller.policy
    models = _models(call, call.resolution) if policy.model_budgets or policy.model_limits else ()
    return call.caller.restraints(models, call.snapshot.budgets)


def _models(call: Call, resolution: Resolution) -> tuple[str, ...]:
    """Return the names by which a call counts in budgets and limits of models.

    Raises:
        AccessDenied: it would go round those of a group, by an alias that leads to several.
    """
    assert call.caller is not None
    names, others = budget_names(resolution)
    policy = call.caller.policy
    for group in others:
        if group in policy.model_budgets or group in policy.model_limits:
            raise AccessDenied(
                f"Key {call.caller.name} has a budget or limit of its own for {group!a}, which {call.asked!a} leads to "
                f"among others: ask for {group!a} by its own name.",
                at="alias round a model's budget",
            )
    return names


async def hold(call: Call, deployment: Deployment) -> Reservation | None:
    """Hold what a call can cost at most in a deployment's own budget; None where it has none.

    Raises:
        BudgetExhausted: it has not enough left.
        AccessDenied, InvalidRequest, Unavailable: as ``reserve``.
    """
    assert call.target is not None
    budget = deployment.budget
    if budget is None or call.target.operation.free:
        return None
    charge = charge_of(deployment, budget)
    if call.admission is None:
        call.admission = Admission(charges=())
    await measure(call, call.admission)
    await know(call, (charge,))
    price = call.snapshot.price_of(deployment, call.target.operation)
    bound = bound_on(call, call.admission, deployment, price)
    amount = _spend(call, (charge,), bound)
    try:
        return call.gateway.budgets.reserve((charge,), amount, min(call.started_at, call.gateway.clock.admitted_ms()))
    except OverBudget as over:
        _alert(call, over)
        raise _refused(over, (bound,)) from over


def charge_of(deployment: Deployment, budget: Budget) -> Charge:
    """Return a deployment's own budget as calls count against it."""
    return Charge(account=f"deployment:{deployment.id}", name=f'deployment "{deployment.name}"', budget=budget)


async def know(call: Call, charges: Sequence[Charge]) -> None:
    """Make sure that what was spent before is known."""
    try:
        await call.gateway.asking.know(charges, call.started_at)
    except StoreError as error:
        raise off_record(str(error)) from error


def _take(
    call: Call,
    admission: Admission,
    hard: Sequence[Charge],
    amount: int,
    limits: Sequence[tuple[str, Limit]],
) -> None:
    """Take everything or nothing. Money first: what is used up for good is not to be tried again in a minute."""
    gateway = call.gateway
    if hard:
        admission.reservation = gateway.budgets.reserve(hard, amount, call.started_at)
    if not limits:
        return
    tokens = estimated_tokens(call, admission)
    now = time.monotonic()
    try:
        admission.taken = gateway.limiter.take(limits, tokens, now)
    except OverLimit as over:
        if admission.reservation is not None:
            admission.reservation.release()
        raise _throttled(call, over) from over
    admission.told += admission.taken.headers(now)


def _amount(call: Call, admission: Admission, hard: Sequence[Charge]) -> int:
    """Return the nano-USD a call can cost at most, on whichever of its deployments."""
    assert call.resolution is not None and call.target is not None
    if call.resolution.lone and not call.fallbacks and not call.longer:
        deployment = call.resolution.candidates[0][0]
        price = call.snapshot.price_of(deployment, call.target.operation)
        return _spend(call, hard, bound_on(call, admission, deployment, price))
    return max(_spend(call, hard, bound) for bound in _bounds(call, admission))


def _bounds(call: Call, admission: Admission) -> Iterable[Bound]:
    """Return what a call can cost at most, once for each price and kind of deployment."""
    assert call.resolution is not None and call.target is not None
    seen = {}
    for resolution in (call.resolution, *call.fallbacks, *call.longer):
        for deployment in resolution.deployments():
            price = call.snapshot.price_of(deployment, call.target.operation)
            key = (
                id(price),
                deployment.flat,
                deployment.guardrail is not None,
                deployment.price_model,
                deployment.model_id,
            )
            if key not in seen:
                seen[key] = bound_on(call, admission, deployment, price)
    return seen.values()


def _spend(call: Call, hard: Sequence[Charge], bound: Bound) -> int:
    """Return a bound's nano-USD; 0 where there is none and the caller may go without.

    Raises:
        AccessDenied: there is none.
    """
    assert call.caller is not None
    if bound.spend is not None:
        return bound.spend
    if call.caller.policy.allow_unbounded:
        return 0
    raise AccessDenied(
        f"What this call can cost at most cannot be told: {bound.unbounded}. {_start(hard[0].name)} has a hard budget, "
        "so it is refused; whoever runs the gateway can set allow_unbounded for the key.",
        at="no bound",
    )


async def _clamp(call: Call, admission: Admission, over: OverBudget) -> int:
    """Shorten the answer until the call fits into what is left; return its new bound, nano-USD.

    Raises:
        BudgetExhausted: no answer of any use fits.
    """
    assert call.resolution is not None and call.target is not None
    bounds = list(_bounds(call, admission))
    limit = _fitting(bounds, over)
    document, large = admission.document, len(call.body) > OFF_LOOP
    if admission.plain is not None:
        document = await asyncio.to_thread(read_body, call.body) if large else read_body(call.body)
    if limit < LEAST_ANSWER or document is None:
        raise _refused(over, bounds, clamping=True) from over
    deployment = call.resolution.candidates[0][0]
    arguments = call.target.operation, deployment.foundation, call.body, document, limit
    clamped = await asyncio.to_thread(clamp, *arguments) if large else clamp(*arguments)
    if clamped is None:
        raise _refused(over, bounds) from over
    call.body, note = clamped
    call.body_hash = ""
    if note is not None:
        call.notes = (note,)
        admission.told = [("x-bedrock-gateway-clamped-max-tokens", str(limit))]
    admission.document = admission.plain = None
    admission.read = False
    admission.extents.clear()
    admission.bounds.clear()
    await measure(call, admission)
    return _amount(call, admission, (over.charge,))


def _tell(call: Call, admission: Admission, restraints: Restraints) -> None:
    """Note what every answer says of budgets."""
    budgets = call.gateway.budgets
    if admission.reservation is not None:
        admission.told.append(("x-bedrock-gateway-budget-remaining-usd", usd(admission.reservation.left)))
    elif (least := budgets.left(restraints.hard)) is not None:
        admission.told.append(("x-bedrock-gateway-budget-remaining-usd", usd(max(0, least[1]))))
    for charge, spent in budgets.soft(restraints.soft) if restraints.soft else ():
        text = f"{charge.name}: {usd(spent)} USD of {usd(charge.budget.soft or 0)} USD spent"
        plain = text.replace("…", "...").encode("ascii", "replace").decode()
        admission.told.append(("x-bedrock-gateway-budget-warning", plain))


def _fitting(bounds: Iterable[Bound], over: OverBudget) -> int:
    """Return the most tokens of an answer with which a call fits into what is left wherever it may end; 0 where no
    answer does.
    """
    return min((bound.fitting(over.available) or 0 for bound in bounds), default=0)


def _refused(over: OverBudget, bounds: Iterable[Bound], *, clamping: bool = False) -> BudgetExhausted:
    """Return what a caller is told of a budget that has not enough left.

    Args:
        bounds: of the call, wherever it may end.
        clamping: whether its answer would have been shortened.
    """
    limit = over.charge.budget.limit or 0
    window, resets = over.charge.budget.window, "It never resets."
    if over.resets_at is not None:
        at = _utc(over.resets_at)
        resets = f"It slides: there is room again from {at} on." if window and window.sliding else f"It resets at {at}."
    held = f", {_usd(over.reserved)} USD held by calls under way" if over.reserved else ""
    return BudgetExhausted(
        f"The budget of {over.charge.name} has not enough left: {_usd(over.spent)} of {_usd(limit)} USD spent{held}; "
        f"this call can cost at most {_usd(over.wanted)} USD. {resets}{_way_out(over, list(bounds), clamping)}",
        at=over.charge.account,
    )


def _way_out(over: OverBudget, bounds: Sequence[Bound], clamping: bool) -> str:
    """Return what a caller can do about a refusal, as a further sentence; "" where a shorter answer changes nothing."""
    if not any(bound.output_rate and bound.output_tokens for bound in bounds):
        return ""
    fitting = _fitting(bounds, over)
    if fitting >= LEAST_ANSWER:
        return f" A smaller max_tokens lowers what it can cost: {fitting} fits into what is left."
    return f" Not even an answer of {LEAST_ANSWER} tokens fits into what is left." if clamping else ""


def _alert(call: Call, over: OverBudget) -> None:
    """Tell those who look after budgets, the first time in a window."""
    if over.warned is not None:
        call.gateway.alerts.tell(over.warned, call.caller)


def _throttled(call: Call, over: OverLimit) -> Throttled:
    assert call.caller is not None
    what = _WORDS[over.kind]
    return Throttled(
        f"The limit of {over.limit} {what} of {over.name} is reached. There is room again in {over.retry_after} s.",
        retry_after=over.retry_after,
        at=f"{over.name}: {over.kind}",
    )


def _usd(nano: int) -> str:
    """Return nano-USD as USD for reading, exact, without trailing zeros."""
    return usd(nano).rstrip("0").rstrip(".")


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]
