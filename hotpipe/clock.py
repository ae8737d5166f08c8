"""Says when an event happened."""

import time
from datetime import UTC, datetime
from functools import lru_cache

from hotpipe.events import Stamp


def stamp(seq: int) -> Stamp:
    """Now."""
    return Stamp(seq=seq, time=_written(time.time_ns() // 1_000_000), mono=time.monotonic_ns() // 1_000 / 1e6)


@lru_cache(maxsize=1)  # a burst of output has many lines in one millisecond
def _written(since_1970_ms: int) -> str:
    seconds, ms = divmod(since_1970_ms, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"
