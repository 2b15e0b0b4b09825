"""The evaluation loop, used after each epoch of training and by `resnet50 evaluate`."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..data.loader import DeviceLoader
from .metrics.cross_entropy.cross_entropy import CrossEntropy
from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy


@torch.inference_mode()
def evaluate_model(
    model: nn.Module,
    loader: DeviceLoader,
    accelerator: Accelerator,
    class_map: Tensor | None = None,
    on_batch: Callable[[], None] | None = None,
    flip: bool = False,
) -> dict[str, float]:
    """
    Top-1, top-5 and loss over all images of all processes' loaders, each image exactly once.

    Args:
        model: returns `logits` `(batch, num_labels)`. Its mode (train or eval) is restored afterwards.
        loader: this process's share; the shares may differ in length.
        accelerator: gives precision and processes. Call on every process.
        class_map: int64 `(number of classes of the data,)`, the model's class for each label of the data.
        on_batch: called after each batch, to show progress.
        flip: test-time augmentation: mean of the logits of each image and its mirror image.

    Returns:
        `{"val_loss": nats, "val_top1": share, "val_top5": share}`, the same on every process.
    """
    was_training = model.training
    model.eval()
    model = accelerator.unwrap_model(model)  # DDP would synchronise at each forward, and shares differ in length
    top_classes, labels, log_likelihoods = [], [], []
    for batch in loader:
        with accelerator.autocast():
            logits = model(pixel_values=batch["pixel_values"]).logits
            if flip:
                logits = (logits + model(pixel_values=batch["pixel_values"].flip(-1)).logits) / 2
        log_probabilities = logits.float().log_softmax(-1)
        target = batch["labels"] if class_map is None else class_map[batch["labels"]]
        top_classes.append(log_probabilities.topk(min(5, logits.shape[-1])).indices)
        log_likelihoods.append(log_probabilities.gather(-1, target[:, None]).squeeze(-1).double())
        labels.append(target)
        if on_batch is not None:
            on_batch()
    model.train(was_training)

    top_classes, labels, log_likelihoods = (
        _gather_ragged(torch.cat(parts), accelerator).cpu().numpy() for parts in (top_classes, labels, log_likelihoods)
    )
    accuracy = TopKAccuracy(keep_in_memory=True)
    accuracy.add_batch(predictions=top_classes, references=labels)
    loss = CrossEntropy(keep_in_memory=True)
    loss.add_batch(predictions=log_likelihoods, references=labels)
    results = {**accuracy.compute(), **loss.compute()}
    return {"val_loss": results["loss"], "val_top1": results["top1"], "val_top5": results["top5"]}


def _gather_ragged(values: Tensor, accelerator: Accelerator) -> Tensor:
    """Concatenate the processes' `values` along dimension 0, which may differ in length."""
    if accelerator.num_processes == 1:
        return values
    lengths = accelerator.gather(torch.tensor([len(values)], device=values.device)).tolist()
    padding = values.new_zeros((max(lengths) - len(values), *values.shape[1:]))
    gathered = accelerator.gather(torch.cat([values, padding])).split(max(lengths))
    return torch.cat([part[:length] for part, length in zip(gathered, lengths)])
