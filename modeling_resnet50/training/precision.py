"""The precision that a machine computes in."""

import os

import torch


# Names of `torch.cpu.get_capabilities`, of x86 and of ARM.
_BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def cpu_is_wanted() -> bool:
    """Whether Accelerate was told to leave the GPUs alone."""
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")


def is_on_cpu() -> bool:
    """Whether Accelerate will compute on the CPU."""
    return cpu_is_wanted() or not torch.accelerator.is_available()


def cpu_has_bf16() -> bool:
    """Whether the processor computes in bfloat16 itself. Without that, each operation converts there and back."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _BF16_INSTRUCTIONS)


def precision_here(wanted: str | None, compiled: bool = False) -> str | None:
    """
    What `mixed_precision` means on this machine: `"auto"` is the fastest that trains as well as float32 does. On a CPU
    that is bf16 where it has the instructions, else "no". On a GPU it is fp16, whose BatchNorm cuDNN computes (bf16's
    takes longer than float32's), or bf16 where the model is compiled, BatchNorm with it. None stays None: what
    Accelerate is configured to.
    """
    if wanted != "auto":
        return wanted
    if is_on_cpu():
        return "bf16" if cpu_has_bf16() else "no"
    if torch.cuda.is_available():
        return "bf16" if compiled and torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "no"


def remark_on(precision: str) -> str | None:
    """What to say about a precision that this machine is slow in, if it is."""
    if precision != "bf16" or not is_on_cpu() or cpu_has_bf16():
        return None
    return (
        "warning: this processor has no instructions for bf16 (AVX-512-BF16, AMX): training in it was measured to be "
        "9 to 14 times as slow as in float32. --mixed_precision auto takes what is fast"
    )
