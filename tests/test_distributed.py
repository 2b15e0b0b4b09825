"""What two processes of one run share."""

import sys

import torch
from accelerate.state import AcceleratorState, GradientState
from shared import run_ranks

from modeling_resnet50.training.distributed import create_accelerator
from resnet50_recipe.training_arguments import TrainingArguments


COMPRESSIONS = {None: torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def _gradients(folder: str) -> None:
    """For each of the processes."""
    gradients = {}
    for compression in COMPRESSIONS:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        accelerator = create_accelerator(TrainingArguments(output_dir=folder, gradient_compression=compression))
        assert accelerator.num_processes == 2
        torch.manual_seed(0)
        model = accelerator.prepare(torch.nn.Linear(4, 3, bias=False))
        accelerator.backward(model(_images(accelerator.process_index)).sum())
        gradients[compression] = accelerator.unwrap_model(model).weight.grad.clone()
    if accelerator.is_main_process:
        torch.save(gradients, f"{folder}/gradients.pt")


def _images(rank: int) -> torch.Tensor:
    return torch.rand(5, 4, generator=torch.Generator().manual_seed(rank))


def test_gradients_are_the_mean_of_the_processes_rounded_where_they_are_compressed(tmp_path):
    result = run_ranks([__file__, str(tmp_path)])
    assert result.returncode == 0, result.stderr
    gradients = torch.load(tmp_path / "gradients.pt", weights_only=True)
    # Of a sum of outputs, each row of the weight's gradient is the sum of the inputs.
    halves = [_images(rank).sum(0).expand(3, 4) / 2 for rank in range(2)]
    for compression, dtype in COMPRESSIONS.items():
        expected = (halves[0].to(dtype) + halves[1].to(dtype)).float()
        torch.testing.assert_close(gradients[compression], expected, rtol=0, atol=1e-7 if compression is None else 0)


if __name__ == "__main__":
    _gradients(sys.argv[1])
