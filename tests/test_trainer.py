"""transformers' Trainer trains a published model as a plain loop does."""

import os

import pytest
import torch
from shared import run_python, run_ranks
from torch.nn.functional import cross_entropy

from modeling_resnet50 import ResNet50ForImageClassification


BATCH, STEPS, LEARNING_RATE = 4, 2, 0.1
ACCUMULATION = (1, 2, 4)

# What a stranger has: the published folder and transformers. The argument is the folder.
PROGRAM = f"""
import os, sys, torch
from torch.utils.data import SequentialSampler
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

class InOrder(Trainer):
    def _get_train_sampler(self, *arguments):
        return SequentialSampler(self.train_dataset)

results = {{}}
for accumulation in {ACCUMULATION}:
    model = AutoModelForImageClassification.from_pretrained(sys.argv[1] + "/model", trust_remote_code=True)
    images = torch.load(sys.argv[1] + "/images.pt")
    arguments = TrainingArguments(
        sys.argv[1] + "/run", use_cpu=True, per_device_train_batch_size={BATCH}, per_device_eval_batch_size={BATCH},
        max_steps={STEPS}, gradient_accumulation_steps=accumulation, optim="sgd", learning_rate={LEARNING_RATE},
        max_grad_norm=0, lr_scheduler_type="constant", logging_steps=1, save_strategy="no", report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False,
    )
    trainer = InOrder(model, arguments, train_dataset=images, eval_dataset=images[:8])
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    results[accumulation] = {{
        "processes": trainer.accelerator.num_processes, "losses": losses, "state": model.state_dict(),
        "evaluated": trainer.evaluate()["eval_loss"],
    }}
assert "modeling_resnet50" not in sys.modules
torch.save(results, f"{{sys.argv[1]}}/results{{os.environ.get('RANK', 0)}}.pt")
"""


def loss_of(model, images):
    logits = model(torch.stack([row["pixel_values"] for row in images])).logits
    return cross_entropy(logits, torch.tensor([row["labels"] for row in images]))


def by_hand(model, images, steps, batches):
    """Each step's gradient is the mean over its batches; and each step's loss."""
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    losses = []
    for step in range(steps):
        loss_of_step = 0.0
        for number in range(step * batches, (step + 1) * batches):
            loss = loss_of(model, images[number * BATCH : (number + 1) * BATCH]) / batches
            loss.backward()
            loss_of_step += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss_of_step)
    return losses


@pytest.mark.parametrize("processes", [1, 2])
def test_trainer_equals_a_plain_loop_with_remote_code_accumulation_and_processes(processes, tiny_config, tmp_path):
    ResNet50ForImageClassification(tiny_config).save_pretrained(tmp_path / "model")
    count = BATCH * STEPS * max(ACCUMULATION) * processes
    images = [{"pixel_values": torch.randn(3, 32, 32), "labels": number % 3} for number in range(count)]
    torch.save(images, tmp_path / "images.pt")
    environment = {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.devnull}
    arguments = ["-P", "-c", PROGRAM, str(tmp_path)]
    result = run_ranks(arguments, processes, **environment) if processes > 1 else run_python(arguments, **environment)
    assert result.returncode == 0, result.stderr
    results = [torch.load(tmp_path / f"results{rank}.pt", weights_only=True) for rank in range(processes)]
    for accumulation, found in results[0].items():
        assert found["processes"] == processes
        plain = ResNet50ForImageClassification.from_pretrained(tmp_path / "model").train()
        losses = by_hand(plain, images, STEPS, accumulation * processes)
        assert found["losses"] == pytest.approx(losses, abs=1e-4), accumulation
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(found["state"][name], parameter.detach(), rtol=0, atol=1e-4)
        evaluated = 0.0
        for batch in range(2):  # each process has running statistics of its own
            plain.load_state_dict(results[batch % processes][accumulation]["state"])
            evaluated += loss_of(plain.eval(), images[batch * BATCH : (batch + 1) * BATCH]).item() / 2
        assert found["evaluated"] == pytest.approx(evaluated, abs=1e-4)
