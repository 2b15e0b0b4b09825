"""Loss and accuracy of the training batches."""

import math
import time

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor


_SUMS = ("loss", "images_with_loss", "correct")
STATE_OF_METRICS = (*_SUMS, "images", "bad_images", "seconds")  # what a checkpoint keeps of them
_MAX_UNREAD = 1000  # batches


class TrainMetrics:
    """
    Running loss and top-1 of an epoch. What each batch gave stays on the device until somebody asks, so that the
    training step never waits for it, and is summed on the host in 64 bits, which not every device has.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self._sums = [0.0, 0.0, 0.0]  # as `_SUMS` names them
        self._unread: list[tuple[Tensor, int]] = []  # loss and correct ones of a batch, and its images
        self.images = 0
        self.images_before = 0  # of an earlier start of this epoch
        self.bad_images = self.bad_images_before = 0
        self.seconds_before = 0.0
        self.seconds_waited = 0.0  # for data, since this start of the epoch
        self.started_at = self._told_at = time.perf_counter()
        self._told = self._totals()

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, bad_images: int = 0) -> None:
        """
        Args:
            loss: the batch's mean, a scalar.
            logits: `(batch, num_labels)`.
            labels: `(batch,)`.
            bad_images: how many unreadable ones this process has replaced since it started on the epoch.
        """
        correct = (logits.detach().argmax(-1) == labels).sum()
        self._unread.append((torch.stack([loss.detach().float(), correct]), len(labels)))
        if len(self._unread) == _MAX_UNREAD:
            self._read_sums()
        self.images += len(labels)
        self.bad_images = self.bad_images_before + bad_images

    def read(self) -> tuple[float, float, float]:
        """Loss, top-1 and images per second so far; this process's loss and top-1, all processes' speed."""
        loss, images, correct = self._read_sums()
        return loss / max(images, 1), correct / self.images, self._images_per_second()

    def since_last(self) -> dict[str, float]:
        """
        What was measured since the last call, or this start of the epoch, over all processes, which all call it. It
        waits for the device.

        Returns:
            `loss` and `top1`, means; `images_per_second`; and `data_wait`, the share of time spent waiting for data.
        """
        now, totals = time.perf_counter(), self._totals()
        difference = _over_processes([now - before for now, before in zip(totals, self._told)])
        seconds, self._told_at, self._told = now - self._told_at, now, totals
        loss, images_with_loss, correct, images, waited = difference
        return {
            "loss": loss / max(images_with_loss, 1),
            "top1": correct / images,
            "images_per_second": images / seconds,
            "data_wait": waited / seconds / self.accelerator.num_processes,
        }

    def _totals(self) -> list[float]:
        return [*self._read_sums(), self.images, self.seconds_waited]

    def _read_sums(self) -> list[float]:
        """Sums so far. It waits for the device, where there is something new."""
        if self._unread:
            values, counts = zip(*self._unread)
            self._unread = []
            for (loss, correct), images in zip(torch.stack(values).tolist(), counts):
                if math.isfinite(loss):  # otherwise fp16 overflowed, and the step is skipped
                    self._sums[0] += loss * images
                    self._sums[1] += images
                self._sums[2] += correct
        return self._sums

    def data_wait(self) -> float:
        """Share of the time since this start of the epoch in which this process waited for data."""
        return self.seconds_waited / self.seconds()

    def seconds(self) -> float:
        """Since this start of the epoch."""
        return time.perf_counter() - self.started_at

    def seconds_of_epoch(self) -> float:
        """Also those of earlier starts, up to the checkpoint that was gone on from."""
        return self.seconds_before + self.seconds()

    def _images_per_second(self) -> float:
        return (self.images - self.images_before) * self.accelerator.num_processes / self.seconds()

    def state_dict(self) -> dict[str, float]:
        """This process's sums so far, as exact as they are."""
        values = (*self._read_sums(), self.images, self.bad_images, self.seconds_of_epoch())
        return dict(zip(STATE_OF_METRICS, values, strict=True))

    def load_state_dict(self, states: list[dict[str, float]]) -> None:
        """
        Go on from the sums of all processes: each its own, or equal shares if they were another number.

        Args:
            states: what `state_dict` gave on each process.
        """
        if len(states) == self.accelerator.num_processes:
            state = states[self.accelerator.process_index]
        else:
            state = {name: sum(state[name] for state in states) / self.accelerator.num_processes for name in states[0]}
        self._sums = [state[name] for name in _SUMS]
        self.images = self.images_before = int(state["images"])
        self.bad_images = self.bad_images_before = int(state["bad_images"])
        self.seconds_before = max(state["seconds"] for state in states)
        self._told = self._totals()

    def compute(self) -> dict[str, float]:
        """Over all processes; call it on each of them, once, at the end of the epoch."""
        sums = _over_processes([*self._read_sums(), self.bad_images, self.data_wait()])
        loss, images, correct, replaced, waited = sums
        return {
            "train_loss": loss / max(images, 1),
            "train_top1": correct / (self.images * self.accelerator.num_processes),
            "images_per_second": round(self._images_per_second(), 1),
            "data_wait": round(waited / self.accelerator.num_processes, 3),
            "bad_images": int(replaced),
        }


def _over_processes(values: list[float]) -> list[float]:
    """Their sums over all processes, which all call it. Not as a tensor: exact sums need 64 bits."""
    return [sum(column) for column in zip(*gather_object([values]))]
