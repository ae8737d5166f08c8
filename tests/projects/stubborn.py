"""A server that answers SIGTERM with words alone."""

import os
import signal
import socket

signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"not yet\n"))
listening = socket.socket(fileno=3)
while True:
    listening.accept()[0].close()
