"""An HTTP server whose version is what the file `mood` says when it boots. It answers with its pid.

well       serves
exits      is gone before it is ready
hangs      never accepts
ill        answers 500
dies       serves, and ends between two requests soon after the first one that is no probe
"""

import os
import socket
import sys
import time

with open("mood") as file:
    mood = file.read().strip()
listening = socket.socket(fileno=int(sys.argv[1]))
listening.setblocking(True)
if mood == "exits":
    sys.exit("I am not well")
if mood == "hangs":
    time.sleep(3600)

status = b"500 Internal Server Error" if mood == "ill" else b"200 OK"
body = str(os.getpid()).encode()
answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)
while True:
    client, _ = listening.accept()
    with client:
        request = b""
        while b"\r\n\r\n" not in request and (chunk := client.recv(4096)):
            request += chunk
        if request:
            client.sendall(answer)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    if mood == "dies" and request.startswith(b"GET / "):
        os._exit(1)
