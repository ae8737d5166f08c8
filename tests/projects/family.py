"""A server whose family is hard to end: a child that ignores SIGTERM, one that forked twice into its own session."""

import os
import signal
import socket
import sys


def stay(deaf: bool) -> None:
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


if os.fork() == 0:
    stay(deaf=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        stay(deaf=True)
    os._exit(0)

listening = socket.socket(fileno=int(sys.argv[1]))
listening.setblocking(True)
while True:
    client, _ = listening.accept()
    with client:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + os.environ["HOTPIPE_GENERATION"].encode())
