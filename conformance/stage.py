"""Runs one suite against a gateway, and records both sides of it.

    python3 stage.py EMX_GATE COMMAND...

    client -> recorder -> gateway -> recorder -> demo provider
                                  -> recorder -> provider.py, as openai.files and anthropic.files

The command finds the gateway's address in GATE. Afterwards the two records are compared. Everything
listens on free loopback ports, reads no file and no variable of the user, and ends with this program.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from compare import compare
from provider import Provider
from record import Recorder

# What the demo provider is told to do wrong is what clients are to see, once and each time.
CONFIG = """
[llm.retry]
max_attempts = 1

[llm.circuit_breaker]
enabled = false

[llm.provider.openai.demo]
api_base = "http://{far}/v1"
api_key = "demo"
models = ["gpt-demo", "text-embedding-demo"]
open = true
websocket = true

[llm.provider.openai.files]
api_base = "http://{files}/v1"
api_key = "files"

[llm.provider.anthropic.files]
api_base = "http://{files}"
api_key = "files"

[llm.provider.anthropic.demo]
api_base = "http://{far}"
api_key = "demo"
models = ["claude-demo"]
open = true
"""
PATIENCE = 20


class Gate:
    """A process of emx-gate that listens on a free port."""

    def __init__(self, program, folder, name, arguments):
        self.log = Path(folder, f"{name}.log")
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "EMX_HOME": folder}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "--port", "0", *arguments], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.address = self._address()

    def _address(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r" on http://([0-9.:]+)", self.log.read_text()):
                return found.group(1)
            time.sleep(0.02)
        sys.exit(f"emx-gate does not start:\n{self.log.read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()


def demo_address(gate):
    """Asks a gateway with --demo where its demo provider listens."""
    with urllib.request.urlopen(f"http://{gate}/v1/providers", timeout=PATIENCE) as answer:
        providers = json.load(answer)["data"]
    base = next(entry["api_base"] for entry in providers if entry["id"] == "openai.demo")
    return base.split("/")[2]


def main(program, command):
    program = str(Path(program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        demo = Gate(program, folder, "demo", ["--demo"])
        try:
            behind = Recorder(demo_address(demo.address))
            files = Recorder(f"127.0.0.1:{Provider().port}")
            config = Path(folder, "gate.toml")
            config.write_text(CONFIG.format(far=behind.address, files=files.address))
            config.chmod(0o600)
            gate = Gate(program, folder, "gate", ["--config", str(config), "--log-format", "json"])
            try:
                before = Recorder(gate.address)
                status = subprocess.run(command, env={**os.environ, "GATE": f"http://{before.address}"}).returncode
            finally:
                gate.stop()
            findings = list(compare(before, [behind, files], gate.log.read_text()))
        finally:
            demo.stop()
    for holds, text in findings:
        print(f"{'ok  ' if holds else 'FAIL'} {text}", flush=True)
    return 0 if status == 0 and all(holds for holds, _ in findings) else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
