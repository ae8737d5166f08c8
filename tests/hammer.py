"""Clients that never let go: run as a program beside a server, it asks until it is told to stop, and counts.

    python hammer.py HOST PORT FRESH POOLED   # ends when its standard input is closed; then prints one line of JSON

FRESH clients open a connection for each request. POOLED ones keep theirs, and do what browsers do: where a *kept*
connection turns out to be closed before any byte of an answer has come, the request is sent once more, on a new one.
Everything else that goes wrong is a failure.
"""

import asyncio
import collections
import json
import random
import sys
import time

PATIENCE_S = 10
PAUSE_S = 0.002
THINK_S = (0.01, 0.03)  # the pause of one who keeps a connection
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n"


class DroppedError(Exception):
    """A kept connection was closed before an answer began."""


class Tally:
    def __init__(self) -> None:
        self.failures: collections.Counter[str] = collections.Counter()
        self.bodies: collections.Counter[str] = collections.Counter()
        self.retries = 0
        self.took_ms: list[float] = []


async def read_answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """The body, and whether the connection may be kept."""
    first = await reader.read(1)
    if not first:
        raise DroppedError
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if status.split()[1] != "200":
        raise ValueError(status)
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    elif fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        return (await reader.read()).decode(), False
    return body.decode(), fields.get("connection", "").lower() != "close" and not status.startswith("HTTP/1.0")


async def client(host: str, port: int, *, pooled: bool, tally: Tally, over: asyncio.Event) -> None:
    streams = None
    while not over.is_set():
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                for attempt in (1, 2):
                    kept = streams is not None
                    try:
                        streams = streams or await asyncio.open_connection(host, port)
                        streams[1].write(REQUEST % (b"" if pooled else b"Connection: close\r\n"))
                        body, keep = await read_answer(streams[0])
                        break
                    except (DroppedError, ConnectionError):
                        streams = None
                        if not kept or attempt == 2:
                            raise
                        tally.retries += 1
            tally.bodies[body] += 1
            if not (pooled and keep):
                streams[1].close()
                streams = None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            tally.failures[f"{type(error).__name__} {error}"] += 1
            streams = None
        tally.took_ms.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(random.uniform(*THINK_S) if pooled else PAUSE_S)


async def main(host: str, port: str, fresh: str, pooled: str) -> None:
    tally, over = Tally(), asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: over.set())
    async with asyncio.TaskGroup() as clients:
        for number in range(int(fresh) + int(pooled)):
            clients.create_task(client(host, int(port), pooled=number >= int(fresh), tally=tally, over=over))
    took = sorted(tally.took_ms)
    print(
        json.dumps(
            {
                "requests": len(took),
                "failures": tally.failures,
                "retries": tally.retries,
                "bodies": tally.bodies,
                "p50_ms": round(took[len(took) // 2], 1),
                "longest_ms": round(took[-1], 1),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
