"""Stages and tools as processes of their own that need not import MLflow and DVC again: they fork from one that has.

``python zygote.py SOCKET`` serves; ``python -S zygote.py SOCKET COMMAND...`` asks it to run COMMAND here and now.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def ask(address: str, command: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = {"command": command, "cwd": os.getcwd(), "env": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        return int(connection.makefile().readline() or 70)


def serve(address: str) -> None:
    import dvc.cli
    import dvc.repo.experiments
    import mlflow  # noqa: F401
    import toy_stage

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if os.fork():  # the child answers, and its own children are its business
                connection.close()
                while os.waitpid(-1, os.WNOHANG)[0] > 0:
                    pass
                continue
            server.close()
            code = 70
            try:
                content, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                request = json.loads(content)
                os.chdir(request["cwd"])
                os.environ.clear()
                os.environ.update(request["env"])
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                program, *arguments = request["command"]
                code = dvc.cli.main(arguments) if program == "dvc" else toy_stage.main(arguments)
            except SystemExit as exit_:
                code = int(exit_.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                connection.sendall(f"{code}\n".encode())
                os._exit(0)


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
