"""In which floating-point format a run multiplies."""

import torch


def use_bf16(precision: str) -> bool:
    """Whether to train under bfloat16 autocast: as told, or ("auto") where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
