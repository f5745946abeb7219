"""docker/compose.yaml: what the Compose specification says, and its command lines on a database and an object store."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import jsonschema
import psycopg2
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from object_store import object_store
from postgresql_server import postgresql  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(:[-?])([^}]*)\}")


def compose(name: str = "compose.yaml", **variables: str) -> dict[str, Any]:
    """The file as Compose reads it: a variable with ``:-`` has a default, one with ``:?`` is demanded."""

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if name in variables:
            return variables[name]
        assert kind == ":-", f"{name}: {text}"
        return text

    return dict(yaml.safe_load(VARIABLE.sub(value, (DOCKER / name).read_text())))


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_the_file_follows_the_compose_specification(name: str) -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    content = compose(name, AVSA_SECRETS="/secrets")
    jsonschema.Draft202012Validator(schema).validate(content)
    broken = {**content, "services": {**content["services"], "other": {"image": "x", "healthchek": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="healthchek"):
        jsonschema.Draft202012Validator(schema).validate(broken)


def test_names_in_the_file_name_something() -> None:
    content = compose(AVSA_SECRETS="/secrets")
    services = content["services"]
    for service in services.values():
        assert set(service.get("secrets", ())) <= content["secrets"].keys()
        assert set(service["environment"].get("SECRETS", "").split()) <= set(service.get("secrets", ()))
        for name in (entry.partition(":")[0] for entry in service.get("volumes", ())):
            assert (DOCKER / name).exists() if name.startswith(".") else name in content["volumes"]
        for other, how in service.get("depends_on", {}).items():
            assert "healthcheck" in services[other] or how["condition"] == "service_completed_successfully"
    assert set(compose("compose.gpu.yaml")["services"]) <= services.keys()


def test_nothing_is_open_to_the_world_and_no_password_is_in_the_file() -> None:
    content = compose(AVSA_SECRETS="/secrets")
    assert content["services"]["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert [name for name, service in content["services"].items() if "ports" in service] == ["mlflow"]
    for service in content["services"].values():
        for name, value in service["environment"].items():
            assert not re.search("PASSWORD|KEY|TOKEN", name) or name.endswith("_FILE"), name
            assert not re.search("://[^/@]*:[^/@]*@", value), name
        assert not re.search("://[^/@]*:[^/@]*@", str(service.get("command", "")))
    for secret in content["secrets"].values():
        assert secret["file"].startswith("/secrets/")
    with pytest.raises(AssertionError, match="AVSA_SECRETS: there are no passwords yet, run docker/make-secrets"):
        compose()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Passwords, as docker/make-secrets makes them."""
    copy = tmp_path / "docker"
    copy.mkdir()
    shutil.copy(DOCKER / "make-secrets", copy)
    for attempt in range(2):
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run([copy / "make-secrets"], env=environment, capture_output=True, text=True)
        assert done.returncode == (0, 2)[attempt], done.stderr
    assert "has passwords already" in done.stderr
    assert (copy / ".env").read_text() == f"AVSA_SECRETS={tmp_path / 'avsa'}\n"
    return tmp_path / "avsa"


def keys(folder: Path) -> dict[str, str]:
    """What the object store's clients send."""
    parser = ConfigParser()
    parser.read(folder / "aws")
    return dict(parser["default"])


def test_passwords_are_drawn_once_and_only_their_owner_gets_at_them(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert set(compose(AVSA_SECRETS="/secrets")["secrets"]) == {path.name for path in secrets.iterdir()}
    password = (secrets / "postgresql").read_text()
    assert len(password) == 48
    assert (secrets / "pgpass").read_text() == f"*:*:*:avsa:{password}\n"
    (identity,) = json.loads((secrets / "seaweedfs").read_text())["identities"]
    assert {key.lower() for key in identity["credentials"][0]} == {"accesskey", "secretkey"}
    assert set(identity["credentials"][0].values()) == set(keys(secrets).values())


def test_what_names_the_passwords_is_not_in_git() -> None:
    subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT, check=True)


@pytest.mark.parametrize("content", [None, ""])
def test_nothing_starts_without_a_password(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "aws").write_text(content)
    command = ["sh", str(DOCKER / "with-secrets"), "echo", "started"]
    done = subprocess.run(
        command, env={"SECRETS": "aws", "SECRETS_FOLDER": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"avsa: there is no password in {tmp_path}/aws: run docker/make-secrets\n"


def psql(url: str, *statements: str) -> list[Any]:
    """The rows of the last statement."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


@contextmanager
def guarded(url: str, password: str) -> Iterator[str]:
    """Until the end there is a database ``mlflow`` that asks for this password; yields HOST:PORT."""
    hba = Path(psql(url, f"ALTER USER avsa PASSWORD '{password}'", "CREATE DATABASE mlflow", "SHOW hba_file")[0][0])
    before = hba.read_text()
    hba.write_text(f"host mlflow avsa 127.0.0.1/32 scram-sha-256\n{before}")
    try:
        psql(url, "SELECT pg_reload_conf()")
        yield urlsplit(url).netloc.rpartition("@")[2]
    finally:
        hba.write_text(before)
        psql(url, "SELECT pg_reload_conf()", "DROP DATABASE mlflow WITH (FORCE)")


class Stack:
    """Services of the file as processes on this machine."""

    def __init__(self, secrets: Path, folder: Path, moved: dict[str, str]) -> None:
        text = (DOCKER / "compose.yaml").read_text()
        for there, here in {"/tmp/pgpass": f"{folder}/pgpass", "/run/secrets": str(secrets), **moved}.items():
            text = text.replace(there, here)
        text = VARIABLE.sub(lambda match: match[3] if match[2] == ":-" else str(secrets), text)
        self.services = yaml.safe_load(text)["services"]
        self.environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
        self.environment["SECRETS_FOLDER"] = str(secrets)
        self.folder = folder

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """A service's command line, in its environment and nothing more."""
        service = self.services[name]
        command = service["command"]
        words = command.split() if isinstance(command, str) else command
        return subprocess.Popen(
            ["sh", str(DOCKER / "with-secrets"), *words],
            env={**self.environment, **service["environment"]},
            cwd=self.folder,
            start_new_session=True,
        )

    def healthy(self, name: str) -> bool:
        """What the service's health check says."""
        test = self.services[name]["healthcheck"]["test"][1:]
        return subprocess.run(test, env=self.environment, stderr=subprocess.DEVNULL).returncode == 0


def ask(url: str, method: str = "GET", content: Any = None, host: str | None = None) -> tuple[int, Any]:
    """Status and answer of a request."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode() if content else None
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_servers_command_lines(secrets: Path, tmp_path: Path, postgresql: str) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    password = (secrets / "postgresql").read_text()
    with object_store() as store, store.guarded() as user, guarded(postgresql, password) as database:
        credentials = "\n".join(f"{name.lower()} = {value}" for name, value in user.items())
        (secrets / "aws").write_text(f"[default]\n{credentials}\n")
        moved = {
            "http://objects:8333": store.url,
            "@postgresql/mlflow": f"@{database}/mlflow",
            "0.0.0.0 --port 5000": f"127.0.0.1 --port {port}",
            "127.0.0.1:5000": f"127.0.0.1:{port}",
        }
        stack = Stack(secrets, tmp_path, moved)
        for _ in range(2):  # once more changes nothing
            assert stack.start("bucket").wait(60) == 0
        server = stack.start("mlflow")
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 300
            while not stack.healthy("mlflow"):
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(1)

            made = ask(f"{url}/api/2.0/mlflow/experiments/create", "POST", {"name": "e"}, host="mlflow:5000")
            assert made[0] == 200  # the name by which the trainer knows it
            search = f"{url}/api/2.0/mlflow/experiments/search?max_results=9"
            assert ask(search, host="mlflow.example")[0] == 403
            assert psql(f"postgresql://avsa:{password}@{database}/mlflow", "SELECT name FROM experiments")[-1] == ("e",)

            artifacts = f"{url}/api/2.0/mlflow-artifacts/artifacts/a/b.txt"
            assert ask(artifacts, "PUT", b"kept")[0] == 200
            names = {name.lower(): value for name, value in user.items()}
            client = boto3.client("s3", endpoint_url=store.url, region_name="us-east-1", **names)
            assert client.get_object(Bucket="mlflow", Key="a/b.txt")["Body"].read() == b"kept"

            hidden = [password, *user.values()]
            for process in processes(server.pid):
                for place in ("environ", "cmdline"):
                    text = (process / place).read_text(errors="replace")
                    assert not [secret for secret in hidden if secret in text], (process, place)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def processes(session: int) -> list[Path]:
    """Those of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) != os.getpid():
            try:
                if os.getsid(int(folder.name)) == session:
                    found.append(folder)
            except ProcessLookupError:
                continue
    assert found
    return found
