"""An OpenAI-compatible server: HTTP in one process, the engine in another, a socket between them.

app.py        paths, and what is refused before anybody works       fields.py  the bodies, typed
order.py      from a body to an Order for the engine                replies.py from its results to JSON
gateway.py    this side of the socket: calls, and their line        line.py    who is next, and 429
wire.py       what goes over the socket                             engine_side.py  the other process
"""
