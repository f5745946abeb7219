"""Stands before a server that speaks S3, passes everything on, and can fail as real ones do; by HTTPS where asked."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Gateway:
    """A running gateway; `url` is its address.

    Attributes:
        busy: whether it answers 503 (True), or to so many requests to come.
        slow_s: seconds before it passes a request on.
        requests: method and path with query of all so far.
    """

    def __init__(self, port: int, certificate: Path | None = None) -> None:
        self.port, self.busy, self.slow_s = port, 0, 0.0
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": self}))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    def is_busy(self, request: str) -> bool:
        """Count a request, and say whether it is refused."""
        with self._lock:
            self.requests.append(request)
            if self.busy and self.busy is not True:
                self.busy -= 1
                return True
            return bool(self.busy)


class _Handler(BaseHTTPRequestHandler):
    gateway: Gateway
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        gateway, body = self.gateway, self._body()
        if gateway.is_busy(f"{self.command} {self.path}"):
            self._answer(503, "Slow Down", [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        time.sleep(gateway.slow_s)
        upstream = http.client.HTTPConnection("127.0.0.1", gateway.port)
        left_out = ("transfer-encoding", "content-length", "expect", "connection")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = upstream.getresponse()
        content = answer.read()
        self._answer(answer.status, answer.reason, answer.getheaders(), content)
        upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _answer(self, status: int, why: str, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status, why)
        given = dict(headers)
        for name, value in given.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = given.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *arguments: Any) -> None:
        """Nothing: tests read `requests`."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """An authority nobody knows, and a certificate (with its key) of its for 127.0.0.1: paths of both."""
    now = datetime.datetime.now(datetime.UTC)

    def made(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, ca: bool
    ) -> x509.Certificate:
        subject, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(
            x509.BasicConstraints(ca, None), True
        )
        builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return builder.add_extension(address, False).sign(issuer_key, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root, leaf = folder / "ca.pem", folder / "server.pem"
    root.write_bytes(made("tests", root_key, "tests", root_key, True).public_bytes(serialization.Encoding.PEM))
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    leaf.write_bytes(encoded + made("server", key, "tests", root_key, False).public_bytes(serialization.Encoding.PEM))
    return root, leaf
