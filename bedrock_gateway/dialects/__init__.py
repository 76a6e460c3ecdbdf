"""Dialects: how a caller speaks. One module each.

A dialect gives errors the caller's shape and gives each *attempt* a relay: an object made for that attempt alone, with
``request(body) -> body`` for what is sent, ``receive_data(data) -> data`` and ``receive_eof() -> data`` for what comes
back. What is sent depends on the deployment, so translation, where there is any, happens behind this seam and not once
per call.
"""
