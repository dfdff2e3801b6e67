"""A real S3 server on loopback that fails now and then."""

import contextlib
import http.client
import http.server
import threading
from typing import ClassVar

import pytest

from coreset.core.places import place


class Faulty(http.server.BaseHTTPRequestHandler):
    """Pass requests on to the server behind, but answer every few with 503, or break an answer off."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else 40 ms for every body
    behind: tuple = ()
    counts: ClassVar = {"all": 0, "503": 0, "partial": 0}
    every = 0

    def log_message(self, *args):
        pass

    def handle_all(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        Faulty.counts["all"] += 1
        number = Faulty.counts["all"]
        if Faulty.every and number % Faulty.every == 0:
            Faulty.counts["503"] += 1
            self._send(503, [("x-amz-request-id", "1")], b"<Error><Code>SlowDown</Code></Error>")
            return
        there = http.client.HTTPConnection(*self.behind)
        there.request(self.command, self.path, body, dict(self.headers))
        answer = there.getresponse()
        data = answer.read()
        cut = Faulty.every and self.command == "GET" and len(data) > 2000 and number % 5 == 1
        if cut:
            Faulty.counts["partial"] += 1
        self._send(answer.status, answer.getheaders(), data, len(data) // 2 if cut else None)

    def _send(self, status, headers, data, stop=None):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        head = self.command == "HEAD"
        length = dict((n.lower(), v) for n, v in headers).get("content-length", "0")
        self.send_header("Content-Length", length if head else str(len(data)))
        self.end_headers()
        if not head:
            self.wfile.write(data[:stop])
        if stop is not None:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_all


@contextlib.contextmanager
def s3_server():
    """Give the bucket `rows` of a server whose address and key are in the environment."""
    import botocore.retryhandler
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()  # as many tries as before, 10 ms apart instead of up to 16 s
    patch.setattr(botocore.retryhandler, "delay_exponential", lambda *args, **kwargs: 0.01)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    Faulty.behind = server.get_host_and_port()
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    names = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}",
    }
    for name, value in names.items():
        patch.setenv(name, value)
    place("s3://rows/x").fs.mkdir("rows")
    yield place("s3://rows")
    patch.undo()
    proxy.shutdown()
    server.stop()
