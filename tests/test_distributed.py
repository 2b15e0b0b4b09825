"""What two processes of one run share, in two forks of this one."""

import multiprocessing
import os
import socket

import pytest
import torch

from modeling_resnet50.recipe import Recipe
from modeling_resnet50.training.distributed import create_accelerator


def _gradient(rank: int, port: int, compression: str | None, folder: str, results) -> None:
    os.environ |= {
        "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank),
        "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    accelerator = create_accelerator(Recipe(output_dir=folder, gradient_compression=compression))
    assert accelerator.num_processes == 2
    torch.manual_seed(0)
    model = accelerator.prepare(torch.nn.Linear(4, 3, bias=False))
    accelerator.backward(model(_images(rank)).sum())
    if rank == 0:
        results.put(accelerator.unwrap_model(model).weight.grad.numpy().copy())
    accelerator.wait_for_everyone()


def _images(rank: int) -> torch.Tensor:
    return torch.rand(5, 4, generator=torch.Generator().manual_seed(rank))


@pytest.mark.parametrize(("compression", "dtype"), [(None, None), ("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_gradients_are_the_mean_of_the_processes_rounded_where_they_are_compressed(compression, dtype, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (port, compression, str(tmp_path), results)
    ranks = [context.Process(target=_gradient, args=(rank, *arguments)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    gradient = torch.from_numpy(results.get(timeout=120))
    for rank in ranks:
        rank.join(60)
        assert rank.exitcode == 0
    # Of a sum of outputs, each row of the weight's gradient is the sum of the inputs.
    halves = [_images(rank).sum(0).expand(3, 4) for rank in range(2)]
    if dtype is None:
        torch.testing.assert_close(gradient, (halves[0] + halves[1]) / 2)
    else:
        rounded = [(half / 2).to(dtype) for half in halves]
        assert torch.equal(gradient, (rounded[0] + rounded[1]).float())
