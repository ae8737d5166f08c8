"""A stage that notes what it is to look at, as a line of JSON in the file SEEN: its arguments, and what the list says.

It fails if any of the files that it is called with holds the word `bad`.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

listed = os.environ.get("HOTPIPE_CHANGED_FILES")
note = {"args": sys.argv[1:], "listed": os.fsdecode(Path(listed).read_bytes()) if listed else None}
with open(os.environ["SEEN"], "a", encoding="ascii") as seen:
    seen.write(json.dumps(note) + "\n")
for path in sys.argv[1:]:
    with suppress(OSError), open(path, "rb") as file:
        if b"bad" in file.read():
            sys.exit(1)
