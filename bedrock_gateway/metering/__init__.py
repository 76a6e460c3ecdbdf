"""What a call consumed and what it costs: usage out of answers, prices, spend, and the state an attempt is booked in.

Pure: no clock, no disk, no network, no ``await``. ``meters`` listens to an answer and gives a ``Reading``; ``prices``
finds what a model costs where it ran; ``spend`` makes a ``Settlement`` of both. Money is integer nano-USD throughout.
"""
