"""A payment service for the tutorial: it says what it charges. Ctrl-C is its outage."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8080"))
LISTEN = os.environ.get("LISTEN", "127.0.0.1")


class Payments(BaseHTTPRequestHandler):
    """Charges whatever it is sent."""

    def do_POST(self) -> None:
        order = self.rfile.read(int(self.headers["Content-Length"]))
        print(f"charged {order.decode()}\n", end="", flush=True)  # in one piece: requests are answered in threads
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Its own log lines would only be in the way."""


try:
    ThreadingHTTPServer((LISTEN, PORT), Payments).serve_forever()
except KeyboardInterrupt:
    print("down")
