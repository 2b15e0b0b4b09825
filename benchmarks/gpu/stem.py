"""
Is the gradient of the stem's weights (7×7, stride 2, 3 channels) the same each time? For each number format, layout
and number of channels, with the kernels that compute it.
"""

import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


REPETITIONS = 6
_OTHERS = r"at::native|^Mem"  # kernels that cast, pad and copy
_SECONDS = 9.0  # for one setting of cuDNN's autotuning


@dataclass(frozen=True)
class Case:
    """How the gradient is computed; beyond three channels, the images are padded with zeros."""

    dtype: torch.dtype
    memory_format: torch.memory_format
    channels: int
    deterministic: bool

    def __str__(self) -> str:
        layout = "channels last" if self.memory_format == torch.channels_last else "contiguous"
        name = str(self.dtype).removeprefix("torch.")
        return f"{name}, {layout}, {self.channels} channels, {'' if self.deterministic else 'not '}deterministic"


def all_cases() -> list[Case]:
    """The most telling first."""
    dtypes = (torch.float16, torch.bfloat16, torch.float32)
    forms = [
        (torch.channels_last, 3),
        (torch.contiguous_format, 3),
        (torch.channels_last, 4),
        (torch.channels_last, 8),
    ]
    return [
        Case(dtype, memory_format, channels, deterministic)
        for deterministic, dtype, (memory_format, channels) in itertools.product((True, False), dtypes, forms)
    ]


def repeated(results: list[Tensor]) -> dict[str, Any]:
    """
    Compare what should be the same.

    Returns:
        `alike`: a letter for each, the same for the same bits: ABB where only the first differs. `difference`: the
        greatest to the first, of norms relative to the first's norm.
    """
    distinct: list[Tensor] = []
    letters = ""
    for result in results:
        bits = result.contiguous().flatten().view(torch.uint8)  # so that NaN is like itself
        index = next((i for i, other in enumerate(distinct) if torch.equal(bits, other)), len(distinct))
        if index == len(distinct):
            distinct.append(bits)
        letters += chr(ord("A") + index)
    if len(distinct) == 1:
        return {"alike": letters}
    first = results[0].double()
    greatest = max(((result.double() - first).norm() / first.norm()).item() for result in results[1:])
    return {"alike": letters, "difference": greatest if greatest == greatest else "not finite"}


class Convolution:
    """The stem's, and a gradient that comes back to it, the same for all cases."""

    def __init__(self, device: torch.device, batch_size: int, side: int):
        self.device = device
        random = torch.Generator(device).manual_seed(0)
        out = side // 2
        self.images = torch.randn(batch_size, 3, side, side, device=device, generator=random)
        # So small that sums of many stay within fp16.
        self.returning = torch.randn(batch_size, 64, out, out, device=device, generator=random) / out

    def weight_gradient(self, case: Case) -> Tensor:
        """Of the weights of the three channels, `(64, 3, 7, 7)`, in the case's number format."""
        torch.backends.cudnn.deterministic = case.deterministic
        torch.use_deterministic_algorithms(case.deterministic)
        layout = {"dtype": case.dtype, "memory_format": case.memory_format}
        images = torch.nn.functional.pad(self.images, (0, 0, 0, 0, 0, case.channels - 3)).to(**layout)
        weight = torch.zeros(64, case.channels, 7, 7, device=self.device).to(**layout)
        # In this thread, not in autograd's.
        gradient: Tensor = torch.ops.aten.convolution_backward(
            self.returning.to(**layout), images, weight, None, [2, 2], [3, 3], [1, 1], False, [0, 0], 1,
            [False, True, False],
        )[1]  # fmt: skip
        return gradient[:, :3]


def examine_stem(device: torch.device, batch_size: int, side: int) -> dict[str, Any]:
    """
    All cases, with cuDNN's autotuning off and on.

    Returns:
        What `repeated` says of each case, how far it is from float64, and its kernels; and the cases that differ.
    """
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    convolution = Convolution(device, batch_size, side)
    try:
        torch.backends.cudnn.benchmark = False
        exact = convolution.weight_gradient(Case(torch.float64, torch.contiguous_format, 3, False))
        found: dict[str, Any] = {}
        for title, benchmark in (("autotuning off", False), ("autotuning on", True)):
            # A thread that has not computed it yet: PyTorch keeps cuDNN's choice for a shape, thread by thread.
            with ThreadPoolExecutor(1) as thread:
                found[title] = thread.submit(_examine_cases, convolution, exact, benchmark).result()
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before
        torch.use_deterministic_algorithms(False)
    differing = [f"{title}, {case}" for title in found for case, each in found[title].items() if "difference" in each]
    return {"differ": differing or "none", **found}


def _examine_cases(convolution: Convolution, exact: Tensor, benchmark: bool) -> dict[str, Any]:
    torch.backends.cudnn.benchmark = benchmark
    begun_at, found = time.monotonic(), dict[str, Any]()
    for case in all_cases():
        if time.monotonic() - begun_at > _SECONDS:
            found[str(case)] = {"left out": "no time was left"}
            continue
        try:
            results = [convolution.weight_gradient(case) for _ in range(REPETITIONS)]
            to_exact = ((results[0].double() - exact).norm() / exact.norm()).item()
            found[str(case)] = {**repeated(results), "to float64": to_exact, "kernels": _kernels(convolution, case)}
        except RuntimeError as error:  # no algorithm for it
            found[str(case)] = {"error": str(error)[:200]}
    return found


def _kernels(convolution: Convolution, case: Case) -> list[str]:
    """cuDNN's, with milliseconds."""
    if convolution.device.type != "cuda":
        return []
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        convolution.weight_gradient(case)
        torch.cuda.synchronize()
    events = [e for e in profiler.key_averages() if e.self_device_time_total and not re.search(_OTHERS, e.key)]
    events.sort(key=lambda event: -event.self_device_time_total)
    return [f"{event.self_device_time_total / 1000:.3f} ms {event.key[:100]}" for event in events[:4]]
