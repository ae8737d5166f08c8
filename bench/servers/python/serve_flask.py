"""Flask's development server; what it listens on, Werkzeug takes from WERKZEUG_SERVER_FD."""

import logging
import os

from flask import Flask

app = Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)


@app.get("/")
def page() -> str:
    """The generation and the process id."""
    return f"{os.environ.get('HOTPIPE_GENERATION', '0')} {os.getpid()}\n"


app.run()
