"""A provider of files, of both kinds: takes uploads of any size, has downloads of any size. The demo of
the gateway has neither. It keeps the bytes of nothing; what it took it tells by size and digest."""

import hashlib
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = bytes(range(256)) * 256
SERIAL = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """`/v1/files/{size}/content`: that many bytes, always the same; of a file with an id some."""
        name = self.path.split("/")[3]
        size = int(name) if name.isdigit() else len(PIECE)
        self.begin("application/octet-stream", size)
        for at in range(0, size, len(PIECE)):
            self.wfile.write(PIECE[:size - at])

    def do_POST(self):
        size, digest = self.read_body()
        if self.path.startswith("/v1/audio/speech"):
            self.begin("audio/mpeg", len(PIECE))
            self.wfile.write(PIECE)
            return
        self.answer({"id": f"file-{digest}", "object": "file", "bytes": size, "created_at": 1, "filename": "f",
                     "purpose": "batch", "status": "processed", "text": digest}
                    if "anthropic-version" not in self.headers else
                    {"id": f"file_{digest}", "type": "file", "size_bytes": size, "filename": "f",
                     "mime_type": "application/octet-stream", "created_at": "2026-01-01T00:00:00Z"})

    def do_DELETE(self):
        """`/v1/files/{id}`"""
        name = self.path.split("/")[3].split("?")[0]
        self.answer({"id": name, "object": "file", "deleted": True}
                    if "anthropic-version" not in self.headers else {"id": name, "type": "file_deleted"})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.begin("application/json", len(body))
        self.wfile.write(body)

    def begin(self, content_type, length):
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(length))
        self.send_header("x-request-id", f"req_file{next(SERIAL):08}")
        self.end_headers()

    def read_body(self):
        """Takes a body in either framing; returns its size and digest."""
        size, digest = 0, hashlib.sha256()
        for piece in self.pieces():
            size += len(piece)
            digest.update(piece)
        return size, digest.hexdigest()

    def pieces(self):
        if "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left and (piece := self.rfile.read(min(left, len(PIECE)))):
                left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_):
        pass


class Provider(ThreadingHTTPServer):
    """Serves on a free loopback port, in threads of its own."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # The gateway may close a kept connection at any time.
