"""What a call consumed and what it costs: usage out of answers, prices, spend, and the state an attempt is booked in.

Pure: no clock, no disk, no network, no ``await``. ``meters`` listens to an answer and gives a ``Reading``; ``prices``
finds what a model costs where it ran; ``bounding`` tells what a call can spend at most before it is sent; ``spend``
makes a ``Settlement`` of reading and price. Money is integer nano-USD throughout.
"""
