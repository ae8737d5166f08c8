"""Says what it was born with: its word, its environment and its descriptors, as one line of JSON."""

import json
import os
import sys

descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
present = [n for n in descriptors if os.path.exists(f"/proc/self/fd/{n}")]  # not listdir's own
sys.stdout.write(json.dumps({"word": sys.argv[1], "env": dict(os.environ), "fds": present}) + "\n")
