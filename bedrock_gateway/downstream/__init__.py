"""The caller's side: sockets, listener, what may come in, bodies, answers.

Imports from left to right only: ``limits`` <- ``connection`` <- ``answers``, ``bodies`` <- ``faults`` <- ``http1``,
``http2`` and its parts <- ``tls`` <- ``listener``; ``sockets``, ``guard`` and ``certificates`` stand alone. Nothing
here knows of AWS, models or money.
"""
