"""A server in a process of its own that gives out a folder's files, and misbehaves as ``behaviour.json`` says.

``python download_server.py FOLDER`` prints its port. The last part of a path without its suffix is an id; the behaviour
of an id is a dictionary:

- status: answer so, with `headers`; `times`: only for so many requests
- body, type: send this text, this Content-Type
- drop: close the connection after so many bytes, of the whole length that was announced; `reset`: do it rudely
- stall: send nothing after so many bytes
- short: pretend that the file ends there
- slow: bytes per second
- no_range: send the whole file whatever is asked for

``requests.jsonl`` in the folder tells of every request, and how many bytes were sent.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK = 8192
_lock = threading.Lock()
_seen: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]*", "", self.path).partition("?")[0]  # asked as a proxy, it is a whole address
        name = Path(path).stem
        with _lock:
            _seen[name] += 1
            behaviour = json.loads((self.folder / "behaviour.json").read_text()).get(name, {})
            if _seen[name] > behaviour.get("times", 10**9):
                behaviour = {}
        entry = {
            "id": name,
            "path": self.path,
            "host": self.headers["Host"],
            "bytes": 0,
            "status": 200,
            "begun": time.time(),
        }
        entry |= {key: self.headers[key] for key in ("Range", "User-Agent", "Cookie") if key in self.headers}
        try:
            self._answer(self.folder / path.lstrip("/"), behaviour, entry)
        except OSError:
            self.close_connection = True
        finally:
            with _lock, (self.folder / "requests.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")

    def _answer(self, file: Path, behaviour: dict[str, Any], entry: dict[str, Any]) -> None:
        status = behaviour.get("status") or (200 if file.is_file() or "body" in behaviour else 404)
        if status != 200:
            entry["status"] = status
            self.send_response(status)
            for key, value in behaviour.get("headers", {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        payload = behaviour["body"].encode() if "body" in behaviour else file.read_bytes()
        payload = payload[: behaviour.get("short", len(payload))]
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and not behaviour.get("no_range"):
            start, end = int(asked[1]), int(asked[2] or len(payload) - 1)
            if start >= len(payload):
                entry["status"] = 416
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            entry["status"] = 206
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{min(end, len(payload) - 1)}/{len(payload)}")
            payload = payload[: end + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(payload) - start))
        self.send_header("Content-Type", behaviour.get("type", "video/x-matroska"))
        self.end_headers()
        self._send(payload[start:], behaviour, entry)

    def _send(self, payload: bytes, behaviour: dict[str, Any], entry: dict[str, Any]) -> None:
        stop = behaviour.get("drop", behaviour.get("reset", behaviour.get("stall", len(payload))))
        for offset in range(0, min(stop, len(payload)), BLOCK):
            block = payload[offset : min(offset + BLOCK, stop)]
            self.wfile.write(block)
            entry["bytes"] += len(block)
            if behaviour.get("slow"):
                time.sleep(len(block) / behaviour["slow"])
        if stop < len(payload):
            self.wfile.flush()
            self.close_connection = True
            if "stall" in behaviour:
                time.sleep(60)
            if "reset" in behaviour:  # an answer of RST instead of FIN
                time.sleep(0.1)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    def log_message(self, *arguments: Any) -> None:
        """requests.jsonl has it."""


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
