"""What the stages and servers of a hotpipe that goes on running have written, in `.hotpipe/logs/`.

Invariant: nothing depends on it. Where it cannot be written (a full disk, a folder that is gone, no permission), one
warning says so, it is tried again later, and what is missing is said in the log itself.

How it works: `tell` makes lines of events, `record` takes them from the bus and writes in batches, `write` appends and
rotates. A file is opened for each batch, so that it may be moved or removed at any time. `read` needs no running
hotpipe: it shows the end of the logs, and follows them across rotations.
"""

import os

FOLDER = os.path.join(".hotpipe", "logs")
