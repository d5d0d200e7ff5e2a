"""How much memory a gateway takes while one body of 1 GiB passes, down and up.

    python3 memory.py EMX_GATE [MiB]

Prints the growth of its resident memory, at its peak, over what it had after some smaller bodies.
Linux only: it reads /proc.
"""

import socket
import statistics
import sys
import tempfile
import threading
from pathlib import Path

from provider import PIECE, Provider
from stage import Gate

MIB = 1 << 20
# What the project promises.
LIMIT_KIB = 1024
# Which of the allocator's arenas has a free buffer is luck, so one pass alone says little.
PASSES = 7
CONFIG = """
[llm.provider.openai]
api_base = "http://127.0.0.1:{port}/v1"
api_key = "k"
"""


class Watch(threading.Thread):
    """Reads the resident memory of a process again and again, in KiB, and keeps the highest."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        # The figures in /proc/PID/status lag behind by some hundred KiB; these are counted anew.
        self.path = Path(f"/proc/{pid}/smaps_rollup")
        self.highest, self.ended = self.read(), threading.Event()

    def read(self):
        return next(int(line.split()[1]) for line in self.path.read_text().splitlines() if line.startswith("Rss:"))

    def run(self):
        while not self.ended.wait(0.005):
            self.highest = max(self.highest, self.read())

    def stop(self):
        self.ended.set()
        self.join()
        return max(self.highest, self.read())


def connect(gate):
    host, port = gate.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 60)


def download(gate, size):
    with connect(gate) as client:
        client.sendall(f"GET /v1/files/{size}/content HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        received, status_line = 0, b""
        while piece := client.recv(MIB):
            status_line = status_line or piece.split(b"\r\n")[0]
            received += len(piece)
    if b" 200 " not in status_line or received < size:
        return f"{status_line.decode()}, {received} of {size} bytes"
    return None


def upload(gate, size):
    start = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
    end = b'\r\n--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
    length = len(start) + size + len(end)
    with connect(gate) as client:
        client.sendall(b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                       b"content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n" % length)
        try:
            client.sendall(start)
            for _ in range(size // len(PIECE)):
                client.sendall(PIECE)
            client.sendall(end)
        except OSError:
            pass  # It was refused; the answer says why.
        try:
            status_line = client.recv(MIB).split(b"\r\n")[0].decode()
        except OSError as error:
            status_line = str(error)
    return None if " 200 " in status_line else status_line


def measure(gate, name, transfer, size):
    """Prints one line; returns whether it holds, None where the gateway does not do it."""
    for _ in range(16):  # Code and buffers of the first use, on every thread, are no growth.
        transfer(gate, 32 * MIB)
    growths = []
    for _ in range(PASSES):
        watch = Watch(gate.process.pid)
        before = watch.highest
        watch.start()
        problem = transfer(gate, size)
        growths.append(watch.stop() - before)
        if problem and " 413 " in problem:
            print(f"SKIPPED memory, {name}: this version does not stream it ({problem})")
            return None
        if problem:
            print(f"FAIL memory, {name}: {problem}")
            return False
    growth = statistics.median(growths)
    print(f"{'ok  ' if growth < LIMIT_KIB else 'FAIL'} memory, {name} of {size // MIB} MiB: grew by {growth} KiB "
          f"over {before} KiB (median of {growths}; at most {LIMIT_KIB})")
    return growth < LIMIT_KIB


def main(program, size):
    provider = Provider()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "gate.toml")
        config.write_text(CONFIG.format(port=provider.port))
        config.chmod(0o600)
        gate = Gate(str(Path(program).resolve()), folder, "gate", ["--config", str(config)])
        try:
            results = [measure(gate, "download", download, size), measure(gate, "upload", upload, size)]
        finally:
            gate.stop()
    return 1 if False in results else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2] if len(sys.argv) > 2 else 1024) * MIB))
