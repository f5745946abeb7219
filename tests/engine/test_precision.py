"""bfloat16 where it is asked for and native, float32 weights always."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from avsa.engine.precision import autocast, has_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("units", "asked", "expected"),
    [
        ({"avx512_bf16": True}, "bf16", torch.bfloat16),
        ({"sve_bf16": True}, "bf16", torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, "bf16", torch.float32),
        ({"avx512_bf16": True}, "fp32", torch.float32),
    ],
)
def test_activations_are_bfloat16_only_where_native(
    units: dict[str, bool], asked: Literal["fp32", "bf16"], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    layer = nn.Linear(4, 4)
    with autocast(CPU, asked):
        output = layer(torch.ones(2, 4))
    assert output.dtype == expected
    output.sum().backward()
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_the_capability_is_the_processor_s_own() -> None:
    lines = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16(CPU) == any(flag in lines for flag in ("avx512_bf16", "amx_bf16", "bf16", "svebf16"))
