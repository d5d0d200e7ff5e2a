"""A transparent TCP relay that keeps every byte of both directions, and the HTTP/1.1 in them.

It changes nothing and understands nothing while it relays; `exchanges` reads what it kept. Python's
standard library only.
"""

import asyncio
import threading
from dataclasses import dataclass, field

PIECE = 64 * 1024


@dataclass
class Connection:
    """One connection: what its client sent, what its server answered."""

    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@dataclass
class Message:
    """A request or an answer; `start` is its first line, `body` without its framing."""

    start: str
    headers: list
    body: bytes
    is_whole: bool
    # What follows on a connection that left HTTP here.
    rest: bytes = b""

    def header(self, name):
        return next((value for key, value in self.headers if key == name), None)


class Recorder:
    """Relays a free loopback port to a target, in a thread of its own."""

    def __init__(self, target):
        self.target = target
        self.connections = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.address = None
        threading.Thread(target=self._run, daemon=True).start()
        if not self._ready.wait(10):
            raise RuntimeError("the recorder does not start")

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _accept(self, reader, writer):
        connection = Connection()
        self.connections.append(connection)
        host, port = self.target.rsplit(":", 1)
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(
            _copy(reader, far_writer, connection.sent),
            _copy(far_reader, writer, connection.answered),
        )
        for side in (writer, far_writer):
            side.close()


async def _copy(reader, writer, kept):
    try:
        while piece := await reader.read(PIECE):
            kept += piece
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


def exchanges(connection):
    """Reads a connection as pairs of request and answer; the last may have no answer (None)."""
    pairs, sent, answered = [], bytes(connection.sent), bytes(connection.answered)
    while sent:
        request, sent = _message(sent, None)
        if request is None:
            break
        method = request.start.split(" ", 1)[0]
        answer, answered = _message(answered, method)
        while answer is not None and _status(answer).startswith("1") and _status(answer) != "101":
            answer, answered = _message(answered, method)
        pairs.append((request, answer))
        if answer is not None and _status(answer) == "101":
            request.rest, answer.rest = sent, answered
            break
    return pairs


def _status(answer):
    return answer.start.split(" ")[1]


def _message(data, method):
    """Splits one message off; `method` is that of the request, for an answer."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None, b""
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((value for name, value in headers if name == "content-length"), None)
    coding = next((value for name, value in headers if name == "transfer-encoding"), "")
    status = start.split(" ")[1] if method else ""
    if method == "HEAD" or status in ("204", "304") or status.startswith("1"):
        return Message(start, headers, b"", True), rest
    if "chunked" in coding.lower():
        body, rest, is_whole = _unchunk(rest)
        return Message(start, headers, body, is_whole), rest
    if length is not None:
        size = int(length)
        return Message(start, headers, rest[:size], len(rest) >= size), rest[size:]
    if method:
        return Message(start, headers, rest, True), b""
    return Message(start, headers, b"", True), rest


def _unchunk(data):
    pieces, at = [], 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"".join(pieces), b"", False
        size = int(data[at:end].split(b";")[0] or b"0", 16)
        at = end + 2
        if size == 0:
            # No trailers are expected: the blank line follows.
            is_whole = data[at:at + 2] == b"\r\n"
            return b"".join(pieces), data[at + 2:], is_whole
        pieces.append(data[at:at + size])
        if len(data) < at + size + 2:
            return b"".join(pieces), b"", False
        at += size + 2
