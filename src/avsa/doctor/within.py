"""Run inside a container, as ``python -c``, in any image with Python: it knows no package beside PyTorch.

Arguments: path of the question to the tracking server, seconds to wait for it. Prints one line of JSON.
"""

import base64
import json
import os
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


def ask(path: str, timeout_s: float) -> tuple[int, str, str]:
    """Status and body of the tracking server's answer, or 0 and the error."""
    uri = urllib.parse.urlsplit(os.environ["MLFLOW_TRACKING_URI"])
    name = urllib.parse.quote(os.environ["AVSA_EXPERIMENT"])
    plain = uri._replace(netloc=uri.netloc.rpartition("@")[2]).geturl().rstrip("/")
    request = urllib.request.Request(f"{plain}{path}?experiment_name={name}")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(uri.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(uri.password or "")
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
    elif os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(2000).decode(errors="replace"), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(2000).decode(errors="replace"), ""
    except Exception as error:
        return 0, "", str(error)


def devices() -> tuple[Any, list[str]]:
    """PyTorch's version and the GPUs that it sees; None where it cannot be imported."""
    try:
        import torch

        return torch.__version__, [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    except Exception:
        return None, []


if __name__ == "__main__":
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
    status, body, error = ask(sys.argv[1], float(sys.argv[2]))
    version, gpus = devices()
    seen = {"shared": shared, "torch": version, "gpus": gpus, "status": status, "body": body, "error": error}
    print("avsa-doctor " + json.dumps(seen))
