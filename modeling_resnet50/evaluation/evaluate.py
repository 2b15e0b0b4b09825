"""The evaluation loop, used after each epoch of training and by `resnet50 evaluate`."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..data.loader import DeviceLoader
from .predictions import Predictions, ranked


@torch.inference_mode()
def forward_batches(
    model: nn.Module, loader: DeviceLoader[Any], accelerator: Accelerator, flip: bool = False
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """
    This process's batches, each with its logits, float32 `(batch, num_labels)`, on the device.

    Args:
        model: returns `logits`. In evaluation mode meanwhile; its mode is restored afterwards.
        loader: this process's share; the shares may differ in length.
        accelerator: gives the precision.
        flip: test-time augmentation: mean of the logits of each image and its mirror image.
    """
    was_training = model.training
    model.eval()
    network = accelerator.unwrap_model(model)  # DDP would synchronise at each forward, and shares differ in length
    try:
        for batch in loader:
            pixel_values = batch["pixel_values"]
            with accelerator.autocast():
                logits = network(pixel_values=pixel_values).logits
                if flip:
                    logits = (logits + network(pixel_values=pixel_values.flip(-1)).logits) / 2
            yield batch, logits.float()
    finally:
        model.train(was_training)


@torch.inference_mode()
def evaluate_model(
    model: nn.Module, loader: DeviceLoader[Any], accelerator: Accelerator, flip: bool = False
) -> dict[str, float]:
    """
    Top-1, top-5 and loss over all images of all processes' loaders, each image exactly once.

    Args:
        model, loader, accelerator, flip: as for `forward_batches`. Call on every process.

    Returns:
        `{"val_loss": nats, "val_top1": share, "val_top5": share}`, and as `val_macro_f1` each of the averages that
        `ClassCounts` makes of the most likely classes. The same on every process.
    """
    # `evaluate` and scipy, a second of imports: the first training step need not wait for them.
    from .metric_modules import in_memory
    from .metrics.classification_report.classification_report import ClassificationReport
    from .metrics.cross_entropy.cross_entropy import CrossEntropy
    from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy

    # Each begins with none, for a process that has no image of its own; five classes, of which those that do not exist
    # are -1, have one shape whatever the model.
    labels = [torch.empty(0, dtype=torch.int64, device=accelerator.device)]
    top_classes = [labels[0].new_empty(0, 5)]
    log_probabilities = [torch.empty(0, device=accelerator.device)]
    for batch, logits in forward_batches(model, loader, accelerator, flip):
        target = batch["labels"]
        top = ranked(logits, 5)
        top_classes.append(nn.functional.pad(top, (0, 5 - top.shape[-1]), value=-1))
        log_probabilities.append(logits.log_softmax(-1).gather(-1, target[:, None]).squeeze(-1))
        labels.append(target)

    all_top_classes, all_labels, all_log_probabilities = (
        _gather_ragged(torch.cat(parts), accelerator).cpu().numpy()
        for parts in (top_classes, labels, log_probabilities)
    )
    accuracy = in_memory(TopKAccuracy)
    accuracy.add_batch(predictions=all_top_classes, references=all_labels)
    loss = in_memory(CrossEntropy)
    # 64 bits on the host: not every device has them.
    loss.add_batch(log_probabilities=all_log_probabilities.astype(np.float64), references=all_labels)
    report = in_memory(ClassificationReport)
    report.add_batch(predictions=all_top_classes[:, 0], references=all_labels)
    results = {**loss.compute(), **accuracy.compute(), **report.compute()}
    return {f"val_{name}": value for name, value in results.items()}


def predict(
    model: nn.Module,
    loader: DeviceLoader[Any],
    accelerator: Accelerator,
    label_names: list[str],
    class_map: Tensor | None = None,
    flip: bool = False,
    on_batch: Callable[[int], None] = lambda images: None,
) -> Predictions:
    """
    What the model says of every image of all processes' loaders, in the order of the split.

    Args:
        model, loader, accelerator, flip: as for `forward_batches`. Call on every process.
        label_names: of the model's classes.
        class_map: int64 `(number of classes of the data,)`, the model's class for each label of the data.
        on_batch: told the number of images of each batch, to show progress.

    Returns:
        The same on every process.
    """
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    indices: list[int] = []
    for batch, batch_logits in forward_batches(model, loader, accelerator, flip):
        logits.append(batch_logits.cpu())
        labels.append(batch["labels"].cpu())
        indices += batch["indices"]
        on_batch(len(batch_logits))
    if not logits:  # more processes than images
        logits.append(torch.empty(0, len(label_names)))
        labels.append(torch.empty(0, dtype=torch.int64))
    all_logits, all_labels, all_indices = (
        _gather_ragged(values.to(accelerator.device), accelerator).cpu().numpy()
        for values in (torch.cat(logits), torch.cat(labels), torch.tensor(indices, dtype=torch.int64))
    )
    order = np.argsort(all_indices)
    assert np.array_equal(all_indices[order], np.arange(len(order))), "an image was met twice, or not at all"
    ours = all_labels[order]
    return Predictions(all_logits[order], ours if class_map is None else class_map.numpy()[ours], label_names)


def _gather_ragged(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Concatenate the processes' `values` along dimension 0, which may differ in length."""
    if accelerator.num_processes == 1:
        return values
    lengths = accelerator.gather(torch.tensor([len(values)], device=values.device)).tolist()
    padding = values.new_zeros((max(lengths) - len(values), *values.shape[1:]))
    gathered = accelerator.gather(torch.cat([values, padding])).split(max(lengths))
    return torch.cat([part[:length] for part, length in zip(gathered, lengths)])
