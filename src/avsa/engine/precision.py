"""Mixed precision: bfloat16 activations where the hardware has units for them, float32 weights everywhere."""

from __future__ import annotations

from typing import Literal

import torch

CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # names in torch.cpu.get_capabilities(), x86 and Arm


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native on the device; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_BF16)


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> torch.autocast:
    """Context of a forward pass: bfloat16 if asked for and native, else float32. Neither needs loss scaling."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" and has_bf16(device))
