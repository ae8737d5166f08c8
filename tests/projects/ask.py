"""A smoke test: gets the URL, says what it was answered, and fails where that is no 200."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    sys.stdout.write(f"smoke was answered {answer.read().decode()}\n")
