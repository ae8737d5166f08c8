"""`python -m hotpipe`."""

from hotpipe.cli import main

main()
