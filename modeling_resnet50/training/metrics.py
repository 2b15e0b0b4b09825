"""Loss and accuracy of the training batches."""

import time

import torch
from accelerate import Accelerator
from torch import Tensor


class TrainMetrics:
    """Running loss and top-1 of an epoch, kept on the device so that the training step never waits for them."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.sums: tuple[Tensor, Tensor] | None = None
        self.images = 0
        self.started_at = time.perf_counter()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """`loss` is the batch's mean, a scalar; `logits` `(batch, num_labels)`; `labels` `(batch,)`."""
        correct = (logits.detach().argmax(-1) == labels).sum()
        sums = loss.detach().double().mul(len(labels)), correct.double()
        self.sums = sums if self.sums is None else (self.sums[0] + sums[0], self.sums[1] + sums[1])
        self.images += len(labels)

    def read(self) -> tuple[float, float, float]:
        """Loss, top-1 and images per second so far; this process's loss and top-1, all processes' speed."""
        loss, correct = (value.item() / self.images for value in self.sums)
        return loss, correct, self.images * self.accelerator.num_processes / self.seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self.started_at

    def compute(self, bad_images: int = 0) -> dict[str, float]:
        """
        Over all processes; call it on each of them, once, at the end of the epoch.

        Args:
            bad_images: how many unreadable ones this process has replaced.
        """
        loss, correct = (self.accelerator.reduce(value, "mean").item() / self.images for value in self.sums)
        images_per_second = self.images * self.accelerator.num_processes / self.seconds()
        replaced = self.accelerator.reduce(torch.tensor(bad_images, device=self.accelerator.device), "sum").item()
        return {
            "train_loss": loss,
            "train_top1": correct,
            "images_per_second": round(images_per_second, 1),
            "bad_images": replaced,
        }
