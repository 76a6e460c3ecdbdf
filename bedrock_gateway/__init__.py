"""bedrock_gateway: a lean, single-process, streaming gateway for AWS Bedrock.

A stock AWS client changes its endpoint URL and goes through it with a virtual key. The gateway finds out who is
calling, resolves the model, signs the request with the operator's own AWS credentials, streams the answer through byte
for byte, counts usage from the event stream without buffering it, and books the spend in SQLite.

**The way of a call**, one file a step in ``chain/``::

    downstream ─▶ dialect ─▶ authenticate ─▶ resolve ─▶ admit ─▶ fail over ─▶ sign ─▶ forward ─▶ upstream
    listener      errors in    who is it?      operation,  budgets,  for each     SigV4   send, relay,
                  the caller's key, or its     model →     limits:   deployment           meter
                  shape; settle signature      deployments reserve   in order
                                               that it may

**The rooms**, and who may import whom (a room imports only from rooms to its right; a test holds it)::

    cli → app → state → admin → chain → downstream → upstream, store → config → routing → metering, access, dialects
        → wire → errors

========== ==================================================================================================
downstream the listener: sockets, TLS, HTTP/1.1 and HTTP/2, limits, parse errors; what leaves towards a caller
chain      the way of a call
state      everything that exists while the gateway runs, opened in order
admin      the gateway's own routes: keys, users, teams, models, spend, health, metrics
upstream   AWS's side: session, credentials, addresses, service models, what the gateway asks by itself
store      SQLite: the ledger, what is administered, reports: the only SQL
metering   pure: usage out of headers, bodies and messages; prices
routing    pure: deployments, model groups, strategies, sessions, who is left out, what follows a failure
access     pure: callers and what they may: keys, signatures, rights, budgets, limits
dialects   pure: how a caller speaks: errors, edits of bodies, translations, relays
config     pure: YAML text and environment → frozen settings
wire       pure: what AWS specifies: operations, targets, headers, event stream, SigV4
simulator  an embedded Bedrock for offline work, tests and demos
========== ==================================================================================================

Pure rooms never await and read no clock, environment, disk or chance: these are handed in.

**The words**: a *virtual key* is a secret the gateway issued, *credentials* are AWS's. A *caller* is who calls, with
its policy. A *model group* is the public name a client asks for, a *deployment* one concrete target: model id or ARN,
region, credentials, endpoint; its *standing* is how it does. A *session* is what keeps calls on one deployment, a
*fallback* a group that is asked instead. A *budget* is money allowed in a *window* of time, a *charge* a budget that a
call counts against, an *account* whose money it is; a *reservation* holds the most a call can cost. An *operation* is
one of AWS's API; an *object* what one makes and others name: a session, a job. A *form* is a model id that does not
tell its model. A *call* is one request of a caller; an *attempt* one request sent upstream for it. *Usage* is what was
consumed, a *price* a rate, *spend* the money booked. A *message* is one of an event stream. *Downstream* is the
caller's side, *upstream* AWS's. A *dialect* is how a caller speaks, a *translation* its request in Bedrock's words, a
*relay* what writes an attempt's answer back; a *part* is one of the calls of a request that Bedrock takes one by one.
"""

from bedrock_gateway._version import VERSION

__all__ = ["VERSION"]
__version__ = VERSION
