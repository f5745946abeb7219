"""A server that speaks S3 on this machine, and a proxy before it that breaks connections in the ways of real ones."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

PLAIN = {"Content-Type": "text/plain"}
KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class ObjectStore:
    """A running server; `url` is its endpoint."""

    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def client(self, service: str = "s3") -> Any:
        """A plain client, past any proxy."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key="secret",
        )

    def put_folder(self, folder: Path, bucket: str, prefix: str) -> None:
        """Copy the files of a folder into a new bucket."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for path in folder.iterdir():
            client.put_object(Bucket=bucket, Key=f"{prefix}/{path.name}", Body=path.read_bytes())

    def remove_bucket(self, bucket: str) -> None:
        """With all that is in it."""
        client = self.client()
        for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=item["Key"])
        client.delete_bucket(Bucket=bucket)

    @contextmanager
    def guarded(self) -> Iterator[dict[str, str]]:
        """Until the end only one user's requests are answered; yields this user's keys as environment."""
        iam = self.client("iam")
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_user(UserName="reader")
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        self._check_after(0)
        try:
            yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        finally:
            self._check_after(float("inf"))

    def _check_after(self, requests: float) -> None:
        address = f"{self.url}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(address, data=str(requests).encode(), headers=PLAIN)).close()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server process of its own."""
    port = _free_port()
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/").close()
                break
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            pytest.fail("the server does not answer")
        yield ObjectStore(port)
    finally:
        process.kill()
        process.wait()


def use(patch: pytest.MonkeyPatch, url: str, keys: dict[str, str] | None = None) -> None:
    """Let AWS's libraries in this process and its children find nothing but this endpoint and these keys."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        patch.delenv(name, raising=False)
    nowhere = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    others = {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**nowhere, **others, **(KEYS if keys is None else keys)}.items():
        patch.setenv(name, value)


class Proxy:
    """Passes HTTP on to a server, but breaks answers to range requests.

    Attributes:
        faults: what happens to the next ones, first to last: ``cut`` (the connection, in the middle of the body),
            ``busy`` (503), ``stall`` (no answer), ``slow`` (half of it, then some seconds nothing), ``ok``.
        always: what happens when `faults` is empty.
        ranges: the ranges that were asked for.
    """

    def __init__(self, server: ObjectStore) -> None:
        self.server, self.faults, self.always, self.ranges = server, list[str](), "ok", list[str]()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while request := _head(client):
                asked = next((line for line in request.decode().lower().split("\r\n") if line.startswith("range:")), "")
                answer = self._answer(request)
                fault = self._fault(asked) if asked else "ok"
                middle = answer.index(b"\r\n\r\n") + 4 + (len(answer) - answer.index(b"\r\n\r\n")) // 2
                if fault == "busy":
                    body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
                    head = f"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
                    client.sendall(head.encode() + b"\r\n\r\n" + body)
                elif fault == "stall":
                    self._ended.wait(20)
                    return
                elif fault == "slow":
                    client.sendall(answer[:middle])
                    self._ended.wait(20)
                    return
                elif fault == "cut":
                    client.sendall(answer[:middle])
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                    return
                else:
                    client.sendall(answer)

    def _fault(self, asked: str) -> str:
        with self._lock:
            self.ranges.append(asked.partition("bytes=")[2])
            return self.faults.pop(0) if self.faults else self.always

    def _answer(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            upstream.sendall(request)
            answer = _head(upstream)
            fields = dict(line.split(": ", 1) for line in answer.decode().lower().split("\r\n") if ": " in line)
            if not request.startswith(b"HEAD"):
                answer += _exactly(upstream, int(fields.get("content-length", 0)))
            return answer


def _head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _exactly(connection: socket.socket, length: int) -> bytes:
    body = b""
    while len(body) < length and (piece := connection.recv(length - len(body))):
        body += piece
    return body


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
