"""The options of a run, which may change whenever it goes on: how it works, what it keeps and whom it tells."""

import re
from dataclasses import dataclass
from typing import Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .errors import UserError
from .settings import AT_LEAST_0, AT_LEAST_1, POSITIVE, Range, Settings, setting


def _is_repo_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _are_steps(text: str) -> bool:
    bounds = re.fullmatch(r"([1-9]\d*)-([1-9]\d*)", text)
    return bounds is not None and int(bounds[1]) <= int(bounds[2])


REPO_ID = Range("user/name, of letters, digits, '-', '_' and '.'", _is_repo_id)
_STEPS = Range("two steps, the first and the last, as in 10-20", _are_steps)


@strict
@dataclass(kw_only=True)
class RunOptions(Settings):
    """
    How a run works on its machine, when it goes on or stops, what it keeps, and whom it tells.

    Raises:
        UserError: a value that cannot work, named, with what would.
    """

    # How the machine works
    dataloader_num_workers: int | None = setting(
        None,
        "Processes that decode and augment images, for each training process. Unset: its share of the cores, up to "
        "16. Each keeps three batches in shared memory: 0.12 GB at 256 images of 224 pixels.",
        AT_LEAST_0,
    )
    jpeg_decoder: Literal["simplejpeg", "nvimgcodec"] = setting(
        "simplejpeg",
        "nvimgcodec decodes no more of a training image than its crop: the same pixels in less time, but damage goes "
        "unnoticed. For images that `resnet50 prepare check` has passed; needs the extra nvimgcodec.",
    )
    max_bad_images: int = setting(
        10, "With on_bad_image skip: so many in one epoch, in one process; more stop the run.", AT_LEAST_0
    )
    gradient_accumulation_steps: int = setting(1, "Forward and backward passes per optimizer step.", AT_LEAST_1)
    fit_batch_to_data: bool = setting(
        False,
        "Where there are few images: halve total_train_batch_size, down to 8, until an epoch has 4 steps. What is "
        "arithmetic of it follows. Said at the start.",
    )
    per_device_eval_batch_size: int | None = setting(
        None, "Unset: as many images as a training process holds at once.", AT_LEAST_1
    )
    gradient_checkpointing: bool = setting(False, "Recompute activations in the backward pass: less memory, slower.")
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = setting(
        None,
        "fp16 scales the loss against underflow. auto: on a GPU fp16, or bf16 with torch_compile; on a CPU bf16 if it "
        "has instructions for it, else no. Unset: what the accelerate configuration says.",
    )
    torch_compile: bool = setting(
        False, "Compile model and loss by torch.compile: faster steps on a GPU, after a minute or two of compiling."
    )
    torch_compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = setting(
        "default", "For torch_compile; reduce-overhead replays CUDA graphs, for steps that wait for launches."
    )
    cudnn_benchmark: bool | None = setting(
        None, "On a GPU, let cuDNN time its algorithms and take the fastest. Unset: unless full_determinism."
    )
    full_determinism: bool = setting(
        False,
        "On a GPU, deterministic algorithms only: the same run again, or resumed, has the very same weights. Without "
        "it they may differ in their last bits. On a CPU they never do.",
    )
    teacher_cache: str | None = setting(
        None,
        "Folder that keeps what the teacher says of each image in each epoch, to read it from then on, in this run "
        "and in any other with the same teacher and images. resnet50 plan says how large it becomes.",
        private=True,
    )

    # When numbers go wrong
    on_nonfinite: Literal["stop", "rollback"] = setting(
        "stop",
        "When the loss is not finite or leaps, or fp16 skips steps in a row: stop with a diagnosis, or go back to the "
        "last checkpoint and leave those batches out.",
    )
    max_skipped_steps: int = setting(
        20, "So many steps in a row may fp16 skip, while it lowers the loss scale.", AT_LEAST_1
    )
    loss_spike_factor: float | None = setting(
        10.0,
        "A loss leaps if it is more than so many times that of guessing, and than the median of the last 100 steps. "
        "Unset: whatever is finite will do.",
        POSITIVE,
    )
    watchdog_minutes: float | None = setting(
        30.0,
        "End the run if a process has not finished a batch for so long; say which one. Unset: wait for ever.",
        POSITIVE,
    )

    # Run folder and checkpoints
    output_dir: str | None = setting(None, "Run folder. Unset: runs/<name of the recipe>.", private=True)
    overwrite_output_dir: bool = setting(False, "Replace the run that output_dir already holds.", private=True)
    checkpoint_every_epochs: int = setting(
        10, "A full training state in checkpoints/ every so many epochs.", AT_LEAST_1
    )
    checkpoint_every_steps: int | None = setting(
        None, "…and every so many optimizer steps, also within an epoch.", AT_LEAST_1
    )
    checkpoint_every_minutes: float | None = setting(
        None, "…and when so many minutes have passed since the last one.", POSITIVE
    )
    keep_last: int | None = setting(None, "Checkpoints to keep, the newest ones. Unset: all.", AT_LEAST_1)
    keep_every_epochs: int | None = setting(
        None, "With keep_last: keep those of every so many epochs as well.", AT_LEAST_1
    )
    resume_from_checkpoint: str | None = setting(
        None,
        "'latest', which is the newest whole one; 'auto', the same, or hub_backup_id's, or a new run if neither is; "
        "the path of one in checkpoints/; or 'hub:', hub_backup_id's ('hub:user/name': another's).",
        private=True,
    )
    allow_recipe_change: bool = setting(
        False, "Resume although fields that decide the result have changed.", private=True
    )

    # Trackers and profile
    report_to: list[str] | str = setting(
        ["none"],
        "Trackers, one or several, by the names Accelerate has for them: tensorboard, trackio, wandb, mlflow, …; or "
        "none.",
    )
    logging_steps: int = setting(
        50, "Tell the trackers every so many optimizer steps, besides after each epoch.", AT_LEAST_1
    )
    profile_steps: str | None = setting(
        None,
        "Profile these optimizer steps of the run, counted from 1: a trace, and where the time goes, in "
        "profile/ of the run folder.",
        _STEPS,
        private=True,
    )

    # The Hub
    push_to_hub: bool = setting(False, "Publish the model at hub_model_id, while training goes on.", private=True)
    hub_model_id: str | None = setting(None, "Repository to push to.", REPO_ID, private=True)
    hub_strategy: Literal["end", "best", "every_checkpoint", "all_checkpoints"] = setting(
        "best",
        "When best/ is pushed to main: at the end, whenever it is new, or at every checkpoint. all_checkpoints: when "
        "it is new, and each checkpoint's model to a branch of its own, epoch-0010.",
        private=True,
    )
    hub_overwrite: bool = setting(
        False, "Replace the model that main of hub_model_id has, if another recipe made it.", private=True
    )
    hub_private_repo: bool | None = setting(
        None, "Whether a new repository is private. Unset: the namespace's default.", private=True
    )
    hub_token: str | None = setting(
        None, "Unset: HF_TOKEN, or that of `hf auth login`. It is never written anywhere.", repr=False, private=True
    )
    hub_final_tag: str | None = setting(
        None, "Push final/ as well, to the branch `final`, and give it this tag: v1.0.", private=True
    )
    hub_backup_id: str | None = setting(
        None,
        "Private repository that always has the newest checkpoint; --resume_from_checkpoint hub: goes on from it.",
        REPO_ID,
        private=True,
    )
    hub_wait_minutes: float = setting(
        15.0, "At the end, wait so long for what the Hub has not yet taken.", AT_LEAST_0, private=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.full_determinism and self.cudnn_benchmark:
            raise UserError(
                "cudnn_benchmark picks algorithms by the clock, which full_determinism must not: choose one of them"
            )
        if self.keep_every_epochs is not None and self.keep_last is None:
            raise UserError("keep_every_epochs says what to keep beside keep_last: set that too, --keep_last 2")
        if self.push_to_hub and not self.hub_model_id:
            raise UserError("push_to_hub needs hub_model_id, the repository to push to: --hub_model_id user/name")
        if self.hub_backup_id is not None and self.hub_backup_id == self.hub_model_id:
            raise UserError(
                "hub_backup_id is for training states, and private: give it another name than hub_model_id"
            )

    @property
    def trackers(self) -> list[str]:
        """The names in `report_to`; none for `none`."""
        names = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        return [] if names == ["none"] else list(dict.fromkeys(names))

    @property
    def profiled_steps(self) -> range | None:
        """Those of `profile_steps`, counted from 1."""
        if self.profile_steps is None:
            return None
        first, last = map(int, self.profile_steps.split("-"))
        return range(first, last + 1)
