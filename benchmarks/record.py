"""What a measured figure is stored as."""

import json
import os
import platform
import subprocess
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def machine() -> str:
    """Cores, processor and GPU in words."""
    cores = len(os.sched_getaffinity(0))
    processor = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        names = [line.split(":", 1)[1] for line in cpu_info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].strip() if names else processor
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cores} core{'s' if cores > 1 else ''}, {processor}, {gpu}"


def commit() -> str:
    """Short hash of the code that ran, with "+" where files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", ".")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(
    name: str, value: float, unit: str, baseline: float, ratio: float, digits: int = 2, benchmark: str = ""
) -> Path:
    """Store a figure beside a baseline's as ``benchmarks/<name>.json``; `benchmark` is what measures several."""
    figure = {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "baseline": round(baseline, 2),
        "ratio": round(ratio, digits),
        "machine": machine(),
        "commit": commit(),
        "command": f"python -m benchmarks {benchmark or name}",
    }
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(figure, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figure, indent=2))
    return path
