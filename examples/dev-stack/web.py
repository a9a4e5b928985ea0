"""The page: it shows what the API says. It finds its port in PORT, and the API's address in API."""
import http.server
import os
import pathlib
import urllib.request

PAGE = pathlib.Path(__file__).with_name("page.html").read_text()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with urllib.request.urlopen(os.environ["API"]) as answer:
            body = PAGE.replace("{answer}", answer.read().decode()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
