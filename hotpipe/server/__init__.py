"""The second half: holds the sockets, and replaces the server behind them when its trigger changes.

`sockets` opens what is held, `ready` sees when a server accepts, `lifecycle` is the machine, `generation` one child,
`touches` notices the trigger, `loop` does what the machine says.
"""
