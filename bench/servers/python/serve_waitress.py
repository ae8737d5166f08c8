"""waitress on the socket that was handed over as descriptor 3."""

import socket

import waitress
from wsgi import app

waitress.serve(app, sockets=[socket.socket(fileno=3)])
