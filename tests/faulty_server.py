"""An HTTP server on 127.0.0.1 that does everything wrong that servers do, on demand."""

import random
import socket
import struct
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


LONGEST_CUT = 8 * 4096  # bytes, of an answer that is cut off


class FaultyServer:
    """
    Serves `content`, and does to the requests one after the other what `faults` says; then it behaves. After
    "changed" it serves `other`.

    Attributes:
        log: for each request, the first byte it asked for.
    """

    def __init__(self, content: bytes, faults=(), other: bytes = b"", headers=("etag", "ranges", "length")):
        self.content = content
        self.other = other
        self.faults = list(faults)
        self.headers = set(headers)
        self.log = []
        self.closing = Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/file.zip"

    def __enter__(self):
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def etag(self) -> str:
        return f'"{md5(self.content).hexdigest()}"'

    def answer(self, handler):
        fault = self.faults.pop(0) if self.faults else None
        if fault == "changed":
            self.content = self.other
        start = 0
        wanted = handler.headers.get("Range")
        if wanted and "ranges" in self.headers and fault != "ignores the range":
            assert handler.headers["If-Range"]  # without it, bytes of two versions would be put together
            if handler.headers["If-Range"] == self.etag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.log.append(start)
        if isinstance(fault, int):
            handler.send_response(fault)
            if fault in (429, 503):
                handler.send_header("Retry-After", "7")
            handler.end_headers()
            return
        body = self.content[start:]
        if fault == "another page":
            body, start = b"<html>Please log in</html>", 0
        if fault == "wrong bytes":
            body = bytes(len(body))
        handler.send_response(206 if start else 200)
        if start:
            first = start + 1 if fault == "wrong range" else start
            handler.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        length = len(body) + {"too long": 500, "too short": -min(500, len(body))}.get(fault, 0)
        if "length" in self.headers:
            handler.send_header("Content-Length", str(length))
        if "etag" in self.headers:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        if fault in ("cut", "reset", "stall"):
            body = body[: random.Random(len(self.log)).randrange(LONGEST_CUT)]
        try:
            handler.wfile.write(body)
            handler.wfile.flush()
            if fault == "stall":
                self.closing.wait(5)
        except OSError:
            pass  # the client has had enough
        if fault == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
