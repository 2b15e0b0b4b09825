"""
What a training step asks of its device, counted on the meta device: there tensors have a shape, a dtype, a layout and
a place but no numbers, so a mistake of places or dtypes shows, and a dispatch mode sees each operation, backward too.

What the modes do not see: kernels within one operation, collectives between processes, and whether memory is pinned.
"""

from collections import Counter

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from shared import TINY, tiny_arguments, write_image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data import loader as loading
from modeling_resnet50.data.mixing import Mixing
from modeling_resnet50.data.sampling import TrainSampler
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.data.transforms import ImageTransform
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.training.averaging import create_average
from modeling_resnet50.training.checkpoint import Progress
from modeling_resnet50.training.distributed import num_data_workers
from modeling_resnet50.training.losses import Criterion, Teacher
from modeling_resnet50.training.metrics import TrainMetrics
from modeling_resnet50.training.numerics import NumericsGuard
from modeling_resnet50.training.optimization import create_optimizer, set_learning_rate
from resnet50_recipe.training_arguments import TrainingArguments


DEVICE = torch.device("meta")
SETTINGS = {
    "total_train_batch_size": 8, "ema_decay": 0.999, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "loss": "bce",
    "bce_target_threshold": 0.2, "max_grad_norm": 1.0, "teacher": "somewhere",
}  # fmt: skip
DEPENDS_ON_NUMBERS = {"nonzero", "masked_select", "_unique2", "unique_dim", "bincount", "equal", "is_nonzero"}


def tensors_in(*values) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class Watch(TorchDispatchMode):
    """
    Notes what is done with the device, and 0 stands for each number read from it.

    Attributes:
        waits: what makes the host wait for a GPU: a number read from it; a shape that depends on numbers, as of
            boolean indices; a copy between host and device, unless it is `non_blocking`.
        operations: how often each was called.
        foreach_dtypes: of the tensors of each foreach operation.
        float64: the operations that made such a tensor on the device.
    """

    def __init__(self):
        super().__init__()
        self.forget()

    def forget(self):
        self.waits, self.operations, self.foreach_dtypes, self.float64 = [], Counter(), [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        self.operations[name] += 1
        if name.startswith("_foreach"):
            self.foreach_dtypes.append({tensor.dtype for tensor in tensors_in(args)})
        on_device = any(tensor.device == DEVICE for tensor in tensors_in(args, kwargs))
        by_mask = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in tensors_in(args[1:2]))
        if on_device and (name in DEPENDS_ON_NUMBERS or by_mask):
            self.waits.append(name)
        if on_device and name == "_local_scalar_dense":
            self.waits.append("item")
            return 0.0
        result = func(*args, **kwargs)
        for tensor in tensors_in(result):
            if tensor.device == DEVICE and tensor.dtype == torch.float64:
                self.float64.append(name)
        if name in ("_to_copy", "copy_"):
            source = args[0] if name == "_to_copy" else args[1]
            blocks = not (kwargs.get("non_blocking") or args[2:] == (True,))
            if source.device != result.device and blocks:
                self.waits.append(f"copy to {result.device}")
        return result


@pytest.fixture
def accelerator(monkeypatch) -> Accelerator:
    made = Accelerator(cpu=True, mixed_precision="no")
    monkeypatch.setitem(PartialState._shared_state, "device", DEVICE)
    monkeypatch.setitem(made.state._shared_state, "device", DEVICE)
    assert made.device == DEVICE
    return made


@pytest.fixture
def batches(tmp_path) -> loading.ImageBatches:
    for number in range(24):
        write_image(tmp_path / "train" / "abc"[number % 3] / f"{number}.png", seed=number, size=(32, 32))
    return loading.ImageBatches(load_splits(str(tmp_path))["train"], ImageTransform())


def network() -> ResNet50ForImageClassification:
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))
    return model.to(DEVICE, memory_format=torch.channels_last)


class TrainingStep:
    """train.py's own parts, put together as in its loop."""

    def __init__(
        self, accelerator: Accelerator, recipe: TrainingArguments, batches: loading.ImageBatches, monkeypatch
    ):
        self.accelerator, self.recipe = accelerator, recipe
        model = network()
        with monkeypatch.context() as patched:  # timm's average makes a generator on the device
            generator = torch.Generator()
            patched.setattr(torch, "Generator", lambda device=None: generator)
            self.average = create_average(model, recipe)
        teacher = Teacher(network(), [0.5] * 3, [0.25] * 3, recipe, 3).to(DEVICE)
        self.criterion = Criterion(recipe, teacher)
        self.model, self.optimizer = accelerator.prepare(model, create_optimizer(model, recipe))
        self.progress, self.metrics = Progress(), TrainMetrics(accelerator)
        self.guard = NumericsGuard(accelerator, model, self.optimizer, recipe, 3, None, self.progress)
        sampler = TrainSampler(24, 8, seed=0)
        sampler.start(1)
        loader = loading.DeviceLoader(
            batches, sampler, DEVICE, recipe.image_mean, recipe.image_std, mixing=Mixing(recipe, 3)
        )
        # As for a GPU: memory is pinned, and copies do not block.
        loader.loader = PinnedLoader(loader.loader)
        self.batches = iter(loader)

    def __call__(self) -> tuple[Tensor, Tensor]:
        batch = next(self.batches)
        set_learning_rate(self.optimizer, 0.1)
        self.guard.begin_step()
        logits = self.model(batch["pixel_values"]).logits
        loss = self.criterion(logits, batch)
        self.guard.watch(loss, batch["indices"])
        self.accelerator.backward(loss)
        assert self.guard.judge(0.1) is None
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self.guard.gradients_were_clipped(norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.guard.step_ended()
        self.metrics.update(loss, logits, batch["labels"])
        assert self.guard.step_was_taken()
        self.progress.step += 1
        self.average.after_step(self.model, self.guard.buffers_of(self.model), self.progress.step, 1)
        return batch["pixel_values"], logits


class PinnedLoader:
    pin_memory, num_workers = True, 0

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return iter(self.loader)


@pytest.mark.parametrize("fields", [{}, {"optim": "lamb"}, {"optim": "adamw"}, {"mixup_group_size": 4}])
def test_a_training_step_waits_for_the_device_once_and_needs_no_64_bits(fields, accelerator, batches, monkeypatch):
    """
    For its loss, when the backward pass is queued; on a GPU the guard waits for the end of the forward pass. The norm
    of the gradient of the step before is there by then.
    """
    step = TrainingStep(accelerator, TrainingArguments(**SETTINGS | fields), batches, monkeypatch)
    with Watch() as watch:
        step()  # the first one allocates
        watch.forget()
        pixels, logits = step()
    assert watch.waits == ["item", "item"]
    assert watch.float64 == []
    assert all(len(dtypes) == 1 for dtypes in watch.foreach_dtypes)  # or a GPU runs a kernel for each tensor
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert logits.dtype == torch.float32


def test_evaluation_needs_no_64_bits_on_the_device(accelerator, batches):
    loader = loading.DeviceLoader(batches, [[(0, 0), (0, 1)], [(0, 2)]], DEVICE, [0.5] * 3, [0.25] * 3)
    with Watch() as watch, pytest.raises(NotImplementedError, match="meta tensor"):  # it has no numbers to read
        evaluate_model(network(), loader, accelerator)
    assert watch.operations["sort"] == 2
    assert watch.float64 == []


def test_the_average_is_one_operation_for_each_dtype():
    model = ResNet50ForImageClassification(ResNet50Config(**TINY))
    average = create_average(model, TrainingArguments(ema_decay=0.9, ema_start_epoch=1))
    with Watch() as watch:
        average.after_step(model, list(model.buffers()), 1, epoch=2)
    assert watch.operations == {"_foreach_lerp_": 1, "_foreach_copy_": 1}
    assert watch.foreach_dtypes == [{torch.float32}, {torch.int64}]
    with Watch() as watch:
        average.after_step(model, list(model.buffers()), 2, epoch=1)  # before its start it is a copy
    assert watch.operations == {"_foreach_copy_": 2}


def test_batch_norms_buffers_are_kept_by_one_operation_for_each_dtype():
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    accelerator.scaler = torch.amp.GradScaler("cpu")
    model = ResNet50ForImageClassification(ResNet50Config(**TINY))
    model, optimizer = accelerator.prepare(model, create_optimizer(model, TrainingArguments()))
    guard = NumericsGuard(accelerator, model, optimizer, TrainingArguments(), 3, None, Progress())
    guard.begin_step()
    with Watch() as watch:
        guard.begin_step()
    assert watch.operations == {"_foreach_copy_": 2}
    assert watch.foreach_dtypes == [{torch.float32}, {torch.int64}]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"always_adapt": True, "max_grad_norm": None},
        {"trust_clip": True, "bias_correction": False, "grad_averaging": False},
        {"decoupled_decay": True},
    ],
)
def test_lamb_of_grouped_operations_equals_that_of_single_ones(settings):
    """The grouped ones are what timm takes on a GPU."""
    model = ResNet50ForImageClassification(ResNet50Config(**TINY))
    recipe = TrainingArguments(
        weight_decay=0.02, weight_decay_on="all_but_norm_and_bias", optim="lamb", learning_rate=0.005
    )
    results = []
    for foreach in (False, True):
        torch.manual_seed(1)
        copy = ResNet50ForImageClassification(model.config)
        copy.load_state_dict(model.state_dict())
        recipe.optim_args = {**settings, "foreach": foreach}
        optimizer = create_optimizer(copy, recipe)
        for step in range(5):
            for parameter in copy.parameters():
                parameter.grad = torch.randn_like(parameter) * 10.0 ** (step - 3)
            optimizer.step()
        results.append((dict(copy.named_parameters()), optimizer.state_dict()))
    (single, state), (grouped, grouped_state) = results
    for name, value in single.items():
        torch.testing.assert_close(grouped[name], value, rtol=1e-6, atol=1e-6)
    assert state["state"].keys() == grouped_state["state"].keys()  # a checkpoint of one is one of the other
    assert state["state"][0].keys() == grouped_state["state"][0].keys() == {"exp_avg", "exp_avg_sq"}


def test_lamb_of_grouped_operations_is_a_few_dozen_of_them():
    calls = {}
    for foreach in (False, True):
        with DEVICE:
            model = ResNet50ForImageClassification(ResNet50Config())
        recipe = TrainingArguments(weight_decay=0.02, weight_decay_on="all_but_norm_and_bias", optim="lamb")
        recipe.optim_args = {"foreach": foreach}
        optimizer = create_optimizer(model, recipe)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # the first one allocates
        with Watch() as watch:
            optimizer.step()
        views = sum(watch.operations[name] for name in ("unbind", "detach", "device"))
        calls[foreach] = sum(watch.operations.values()) - views
    assert calls[False] > 2000
    assert calls[True] < 50


def test_the_teacher_runs_in_the_training_precision_and_channels_last(image_folder, tmp_path, train, monkeypatch):
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))
    seen = set()

    def look(convolution: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        tensors = (convolution.weight, *inputs, output)
        seen.add((output.dtype, all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)))

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look)
    monkeypatch.setattr("modeling_resnet50.loop.building.load_teacher", lambda name: (model, [0.5] * 3, [0.25] * 3))
    settings = {"teacher": "somewhere", "mixed_precision": "bf16", "num_train_epochs": 1, "warmup_epochs": 0}
    train(tiny_arguments(image_folder, tmp_path / "run", **settings))
    assert seen == {(torch.bfloat16, True)}


@pytest.mark.parametrize(
    ("cores", "processes", "workers"), [(2, 1, 2), (16, 1, 16), (64, 1, 16), (64, 8, 8), (4, 8, 1)]
)
def test_workers_are_the_process_share_of_the_cores_up_to_16(cores, processes, workers, monkeypatch):
    monkeypatch.setattr("modeling_resnet50.training.distributed.available_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert num_data_workers(TrainingArguments()) == workers
    assert num_data_workers(TrainingArguments(dataloader_num_workers=3)) == 3
