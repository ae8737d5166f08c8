"""Answers on all of its sockets with the value of WORD when it started: the smallest that shows its settings."""

import contextlib
import os
import selectors
import socket

word = os.environ.get("WORD", "none")
answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(word)}\r\n\r\n{word}".encode()
with selectors.DefaultSelector() as ready:
    for descriptor in range(3, 3 + int(os.environ["LISTEN_FDS"])):
        ready.register(socket.socket(fileno=descriptor), selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            client, _ = key.fileobj.accept()
            with contextlib.suppress(OSError), client:
                client.recv(65536)
                client.sendall(answer)
