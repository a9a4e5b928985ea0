"""An HTTP server on the socket that brood passes to it, descriptor 3. Nothing but Python is needed."""
import http.server
import os
import signal
import socket
import threading
import time

RELEASE = open("RELEASE").read().strip() if os.path.exists("RELEASE") else "1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(2)
        body = b"Hello from Python, release %s, process %d\n" % (RELEASE.encode(), os.getpid())
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # its end waits for the requests that are under way

    def __init__(self, fd):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=fd)
        # Several processes wait for the same connections: who comes too late must not wait in accept.
        self.socket.setblocking(False)


def notify(text):
    """one word to whoever supervises us: sd_notify(3)"""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text, "\0" + path[1:] if path[0] == "@" else path)


def main():
    server = Server(3)
    # TERM: accept no more (another thread says so, for this one would wait for itself) ...
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    notify(b"READY=1")  # from now on the process that this one replaces may go
    server.serve_forever(poll_interval=0.1)
    server.server_close()  # ... and end with the last answer


main()
