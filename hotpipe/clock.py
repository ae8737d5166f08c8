"""Says when an event happened."""

import time
from datetime import UTC, datetime

from hotpipe.events import Stamp


def stamp(seq: int) -> Stamp:
    """Now."""
    utc = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Stamp(seq=seq, time=utc, mono=round(time.monotonic(), 6))
