"""A collector on a free port: appends what it is sent to a file."""

import http.server
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(405)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as received:
            received.write(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


open(sys.argv[1], "wb").close()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
