"""A WSGI app on the Unix socket that it finds in SOCKET, with nothing but Python's own library."""
import datetime
import os
import socket
import socketserver
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

started = datetime.datetime.now()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    up = datetime.datetime.now() - started
    return [b"clock, in Python: process %d is up for %.1f s\n" % (os.getpid(), up.total_seconds())]


class Server(WSGIServer):
    """wsgiref knows of hosts and ports only: this is what it takes to have a socket in their place."""

    address_family = socket.AF_UNIX

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self):
        return self.socket.accept()[0], ("local", 0)


server = Server(os.environ["SOCKET"], WSGIRequestHandler)
server.set_app(app)
server.serve_forever()
