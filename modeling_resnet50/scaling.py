"""
How a recipe scales over GPUs and nodes, worked out on paper: what a step takes, what it waits for, and where which
limit bites. The formulas are explained in docs/multi-node.md; the tests hold them against published measurements.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from .plan import SCALING, Plan


NUM_GPUS = [2**power for power in range(11)]  # 1 to 1024

# Gradients are float32 also in mixed precision, whose weights are; DDP reduces them as they are, in buckets.
_BYTES_PER_GRADIENT = 4
_BUCKET = 25e6  # bytes; PyTorch's default
# What a collective operation gets of a link's nominal speed, and how long one message takes: assumptions.
_USABLE = 0.8
_LATENCY = 20e-6  # seconds
_NVLINK = 200e9  # bytes per second of one GPU: a third of A100's 600 GB/s in both directions together; an assumption
# The backward pass counts twice the forward pass, and gradients can travel while it runs.
_BACKWARD = 2 / 3
# Whoever is last holds up all. Of n equal, independent times the slowest is about sqrt(2 ln n) standard deviations
# late; one is 6 % of a step, so that Goyal et al.'s 90 % from 8 to 256 GPUs come out. SCALING has it up to 8.
_JITTER = 0.06
# A step cannot be faster than its kernels are launched. Forward alone takes 13 ms for 1 to 16 images on a V100
# (NVIDIA, DeepLearningExamples, inference latency in mixed precision); backward is taken to be launched as fast.
_LAUNCH = 2 * 13e-3  # seconds, for each forward and backward pass

# ImageNet's images as they are, and packed at short side 256 and quality 90. The rates are of one core, decoding and
# cropping 400 of them; benchmarks/README.md has the data path beside others.
IMAGE_BYTES = {"raw": 110e3, "packed": 31e3}
IMAGES_PER_CORE = {"raw": 629.0, "packed": 1408.0}  # per second

# Total batches beyond which accuracy takes more than the linear rule, and beyond which it falls.
LARGE_BATCH, TOO_LARGE_BATCH = 8192, 32_768
_SHARED_STORAGE = 10e9  # bytes per second that a shared file system gives to all readers together; an assumption
_CORES_PER_GPU = 12  # of usual nodes with 8 GPUs
_FEW_IMAGES = 16  # for BatchNorm
BETWEEN_EPOCHS = 1.0  # seconds in which best/ is written and its card drawn; measured, ResNet-50 on two CPU cores


@dataclass(frozen=True)
class Cluster:
    """
    Attributes:
        images_per_second: of one GPU, at 224 pixels.
        gpus_per_node: they share the node's network, and have NVLink between them.
        network: Gbit/s of one node.
    """

    images_per_second: float
    gpus_per_node: int = 8
    network: float = 400.0


@dataclass(frozen=True)
class Scaled:
    """
    A recipe's training step on so many GPUs.

    Attributes:
        num_gpus, num_nodes: that share it.
        total_batch_size: images of one step.
        ideal: seconds that a GPU alone would take for its images, as it does for many.
        losses: seconds beyond that, by what they go to: "launching" kernels, sharing one "node", "network",
            "stragglers".
        traffic: seconds that the network and NVLink are busy with gradients, most of them while backward runs.
    """

    num_gpus: int
    num_nodes: int
    total_batch_size: int
    ideal: float
    losses: dict[str, float]
    traffic: float

    @cached_property
    def seconds(self) -> float:
        """Of a step."""
        return self.ideal + sum(self.losses.values())

    @property
    def local_batch_size(self) -> float:
        """Images of one GPU in one step."""
        return self.total_batch_size / self.num_gpus

    @property
    def images_per_second(self) -> float:
        """Of all GPUs."""
        return self.total_batch_size / self.seconds

    @property
    def efficiency(self) -> float:
        """Of the images a second that as many single GPUs would do."""
        return self.ideal / self.seconds

    @property
    def limit(self) -> str:
        """What costs most; "GPU" where less than a tenth is lost."""
        return "GPU" if self.efficiency > 0.9 else max(self.losses, key=self.losses.__getitem__)

    @property
    def node_images_per_second(self) -> float:
        """That one node has to read and decode."""
        return self.images_per_second / self.num_nodes

    def hours(self, num_images: float) -> float:
        return num_images / self.images_per_second / 3600


def scaled(plan: Plan, cluster: Cluster, num_gpus: int, total_batch_size: int) -> Scaled:
    """A step of so many images on so many GPUs, nodes being filled one after the other."""
    nodes = math.ceil(num_gpus / cluster.gpus_per_node)
    passes = plan.recipe.gradient_accumulation_steps
    ideal = total_batch_size / num_gpus * plan.image_cost / cluster.images_per_second
    shared = ideal / SCALING if num_gpus > 1 else ideal
    computing = max(shared, passes * _LAUNCH)
    traffic = _all_reduce_seconds(plan, cluster, min(num_gpus, cluster.gpus_per_node), nodes)
    # The last bucket is full when backward is over, and nothing hides it. Accumulation sends once, with the last pass.
    last = traffic * min(1.0, _BUCKET / gradient_bytes(plan))
    losses = {
        "launching": computing - shared,
        "node": shared - ideal,
        "network": max(last, traffic - _BACKWARD * computing / passes),
        "stragglers": computing * _JITTER * (_expected_latest(num_gpus) - _expected_latest(min(num_gpus, 8))),
    }
    return Scaled(num_gpus, nodes, total_batch_size, ideal, losses, traffic)


def gradient_bytes(plan: Plan) -> int:
    """That every GPU gives to each step's sum, and takes from it."""
    return _BYTES_PER_GRADIENT * plan.parameters


def _all_reduce_seconds(plan: Plan, cluster: Cluster, gpus: int, nodes: int) -> float:
    """
    Rings within a node and between nodes, one within the other: each sends 2 (n - 1) / n times the gradients, and a
    node's go through its network once for all of its GPUs. Messages follow each other as in a tree.
    """
    size = gradient_bytes(plan)
    within = 2 * (gpus - 1) / gpus * size / _NVLINK
    between = 2 * (nodes - 1) / nodes * size / (_USABLE * cluster.network * 1e9 / 8)
    messages = math.ceil(size / _BUCKET) * 2 * (math.ceil(math.log2(gpus)) + math.ceil(math.log2(nodes)))
    return within + between + messages * _LATENCY


def _expected_latest(n: int) -> float:
    """Standard deviations that the slowest of n is later than the mean, for normal times and large n."""
    return math.sqrt(2 * math.log(n))


def strong_scaling(plan: Plan, cluster: Cluster, counts: Iterable[int] = NUM_GPUS) -> list[Scaled]:
    """The recipe as it is: its total batch, divided among so many GPUs, as long as each has an image."""
    batch = plan.recipe.total_train_batch_size
    parts = plan.recipe.gradient_accumulation_steps
    return [scaled(plan, cluster, n, batch) for n in counts if n * parts <= batch]


def weak_scaling(plan: Plan, cluster: Cluster, counts: Iterable[int] = NUM_GPUS) -> list[Scaled]:
    """Another recipe for each number of GPUs: every GPU keeps the images that it has on one node."""
    local = math.ceil(plan.recipe.total_train_batch_size / cluster.gpus_per_node)
    return [scaled(plan, cluster, n, local * n) for n in counts]


def limits(plan: Plan, cluster: Cluster) -> list[str]:
    """Where which limit bites, and what to do about it, one sentence each."""
    strong, weak = strong_scaling(plan, cluster), weak_scaling(plan, cluster)
    return [
        *_batch_limits(plan, strong, weak),
        *_network_limits(plan, cluster, strong, weak),
        *_data_limits(plan, weak),
        *_saving_limits(plan, weak),
    ]


def _batch_limits(plan: Plan, strong: list[Scaled], weak: list[Scaled]) -> list[str]:
    recipe, found = plan.recipe, []
    passes = recipe.gradient_accumulation_steps
    slow = _first(strong, lambda point: point.losses["launching"] > 0)
    if slow:
        found.append(
            f"From {slow.num_gpus:,} GPUs on, {slow.local_batch_size / passes:,.0f} images are computed sooner than "
            "their kernels are launched, and more GPUs hardly help: raise total_train_batch_size, and the learning "
            "rate with it"
        )
    few = _first(strong, lambda point: point.local_batch_size / passes < _FEW_IMAGES)
    if few and not (recipe.sync_batch_norm or recipe.keeps_batch_norm):
        found.append(
            f"From {few.num_gpus:,} GPUs on, BatchNorm sees {few.local_batch_size / passes:.0f} images at a time: "
            "sync_batch_norm: true"
        )
    large = _first(weak, lambda point: point.total_batch_size > LARGE_BATCH)
    if large:
        found.append(
            f"If the batch grows with the GPUs, it is {large.total_batch_size:,} at {large.num_gpus:,}, and up to "
            f"{LARGE_BATCH:,} warm-up and a learning rate in proportion lose nothing (Goyal et al. 2017): beyond, "
            "optim lars or lamb, and more epochs"
        )
    too_large = _first(weak, lambda point: point.total_batch_size >= TOO_LARGE_BATCH)
    if too_large:
        found.append(
            f"From {too_large.num_gpus:,} GPUs on, that batch of {too_large.total_batch_size:,} costs accuracy: SGD "
            f"gets 71.7 % at {TOO_LARGE_BATCH:,} and 76.7 % at 256 (Haiku's ImageNet example): use fewer GPUs"
        )
    return found


def _network_limits(plan: Plan, cluster: Cluster, strong: list[Scaled], weak: list[Scaled]) -> list[str]:
    megabytes = gradient_bytes(plan) / 1e6
    found = []
    for points, name in ((strong, "the recipe's batch"), (weak, "a batch that grows")):
        bites = _first(points, lambda point: point.num_nodes > 1 and point.losses["network"] > 0.1 * point.seconds)
        if bites:
            found.append(
                f"With {name}, a network of {cluster.network:g} Gbit/s a node bites from {bites.num_gpus:,} GPUs on: "
                f"{megabytes:.0f} MB of gradients, there and back, take {1000 * bites.traffic:.0f} ms of a step of "
                f"{1000 * bites.seconds:.0f}: a faster network, a larger batch, or gradients in 16 bits "
                "(DDP's fp16_compress_hook)"
            )
    if not found:
        found.append(
            f"A network of {cluster.network:g} Gbit/s a node does not bite: {megabytes:.0f} MB of gradients, there "
            "and back, travel while backward runs"
        )
    return found


def _data_limits(plan: Plan, weak: list[Scaled]) -> list[str]:
    fastest = max(weak, key=lambda point: point.images_per_second / point.num_gpus)
    rate = fastest.images_per_second / fastest.num_gpus
    raw, packed = (rate / IMAGES_PER_CORE[kind] for kind in ("raw", "packed"))
    advice = f": more than the usual {_CORES_PER_GPU}: pack the data" if raw > _CORES_PER_GPU else ""
    found = [f"Decoding takes up to {raw:.1f} cores a GPU, {packed:.1f} if the data are packed{advice}"]
    reads = _first(weak, lambda point: point.images_per_second * IMAGE_BYTES["raw"] > _SHARED_STORAGE)
    if reads:
        images = plan.data.train_images
        found.append(
            f"From {reads.num_gpus:,} GPUs on, all nodes together read more than {_SHARED_STORAGE / 1e9:.0f} GB/s: "
            f"copy the data to each node's disks ({images * IMAGE_BYTES['raw'] / 1e9:.0f} GB, or "
            f"{images * IMAGE_BYTES['packed'] / 1e9:.0f} GB packed), which then also hold them in memory"
        )
    return found


def _saving_limits(plan: Plan, weak: list[Scaled]) -> list[str]:
    every = plan.recipe.checkpoint_every_epochs
    found = [
        f"One process writes: {plan.checkpoint_size / 1e6:.0f} MB every {every} epochs in the background, and "
        f"{plan.model_size / 1e6:.0f} MB whenever the model is the best so far"
    ]
    short = _first(weak, lambda point: epoch_seconds(plan, point) < 10 * BETWEEN_EPOCHS)
    if short:
        found[0] += (
            f"; with a batch that grows, from {short.num_gpus:,} GPUs on, an epoch takes "
            f"{epoch_seconds(plan, short):.1f} s, and the {BETWEEN_EPOCHS:.0f} s between epochs are more than a tenth"
        )
    return found


def epoch_seconds(plan: Plan, point: Scaled) -> float:
    """Of its steps alone."""
    return plan.data.train_images // point.total_batch_size * point.seconds


def _first(points: list[Scaled], condition: Callable[[Scaled], bool]) -> Scaled | None:
    return next((point for point in points if condition(point)), None)
