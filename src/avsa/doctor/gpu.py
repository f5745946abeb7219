"""Whether PyTorch sees the GPU that is there, or asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avsa.config import Engine
from avsa.doctor.check import OK, PROBLEM, Finding

DRIVER = Path("/proc/driver/nvidia/version")


def gpu(engine: Engine) -> Iterator[Finding]:
    """A line for the device that training would take."""
    if engine.device == "cpu":
        yield Finding(OK, "engine.device=cpu: none is asked for")
        return
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
        yield Finding(OK, f"{names}, CUDA {torch.version.cuda}")
    elif DRIVER.exists():
        text = f"there is a driver, but PyTorch {torch.__version__} sees no GPU"
        yield Finding(
            PROBLEM,
            text,
            f"nvidia-smi must work, with a driver for CUDA {torch.version.cuda or '(this build has none)'}",
        )
    elif engine.device == "cuda":
        yield Finding(PROBLEM, "engine.device=cuda, but there is no GPU", "engine.device=auto takes the CPU")
    else:
        yield Finding(OK, "none: training runs on the CPU")
