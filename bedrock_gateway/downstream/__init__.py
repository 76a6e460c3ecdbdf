"""The caller's side: sockets, listener, what may come in, bodies, answers.

Imports from left to right only: ``limits`` <- ``connection`` <- ``answers``, ``bodies`` <- ``http1`` <- ``listener``;
``sockets`` and ``guard`` stand alone. Nothing here knows of AWS, models or money.
"""
