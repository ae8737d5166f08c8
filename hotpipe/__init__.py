"""hotpipe: check every save, and replace the running server only when all is green."""

__version__ = "0.1.0"
