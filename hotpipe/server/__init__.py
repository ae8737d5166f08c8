"""The second half: holds the sockets, and replaces the server behind them when its trigger changes.

Read `lifecycle` first, the machine; `loop` does what it says. `generation` is one process, `cutover` leads connections
from one to the next. docs/design.md says what the other modules own.
"""
