"""Answers every connection with its pid and what page.txt held when it started: the smallest that shows its tree."""

import contextlib
import os
import socket

with open("page.txt", encoding="utf-8") as file:
    page = f"{os.getpid()} {file.read()}"
listening = socket.socket(fileno=3)
while True:
    client, _ = listening.accept()
    with contextlib.suppress(OSError), client:
        client.recv(65536)
        client.sendall(f"HTTP/1.0 200 OK\r\n\r\n{page}".encode())
