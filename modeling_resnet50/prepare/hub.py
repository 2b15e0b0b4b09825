"""A data set of the Hub onto this disk, as the parquet files it consists of."""

from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

from resnet50_recipe.errors import UserError, in_one_line

from .archives import raise_if_disk_full
from .steps import Steps, require_space


_WANTED = ["*.parquet", "README.md", "LICENSE*"]
_UNLABELLED = ["test-*", "*/test-*"]  # ImageNet's: 13 GB that nothing can be learned from


def fetch_from_hub(repo_id: str, to: Path, steps: Steps, revision: str | None = None) -> None:
    """
    Download the labelled splits, or go on with it. Whole files are not fetched again.

    Args:
        repo_id: of a data set made of parquet files.
        to: becomes a folder that `datasets` opens.
        steps: is told what happens.
        revision: a branch, tag or commit. None: the newest.

    Raises:
        UserError: no such data set, no access to it, no network, or no room.
    """
    try:
        info = HfApi().dataset_info(repo_id, revision=revision, files_metadata=True)
        files = [
            f for f in info.siblings or [] if f.rfilename.endswith(".parquet") and not _is_unlabelled(f.rfilename)
        ]
        if not files:
            raise UserError(f"{repo_id} has no parquet files at {revision or 'its newest revision'}")
        missing = sum(f.size or 0 for f in files if not (to / f.rfilename).is_file())
        if missing:
            require_space(to, missing, f"downloading {repo_id}")
        steps.say("fetch", f"{repo_id} at {(info.sha or '')[:12]}: {len(files)} files")
        snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=info.sha,
            local_dir=to,
            allow_patterns=_WANTED,
            ignore_patterns=_UNLABELLED,
        )
    except GatedRepoError as error:
        raise UserError(
            f"{repo_id} is gated, and this account has no access yet: accept its terms at "
            f"{HfApi().endpoint}/datasets/{repo_id}, then `hf auth login`. Without access, the archives of "
            "image-net.org, Kaggle or BitTorrent do as well (resnet50 prepare imagenet1k --help)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repo_id} has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{repo_id}: no such data set on the Hub, or a private one; `hf auth login` if you may see it"
        ) from error
    # HTTPError is that of the HTTP library that this version of the client uses; RuntimeError, what Xet raises.
    except (HTTPError, OSError, RuntimeError) as error:
        if isinstance(error, OSError):
            raise_if_disk_full(error, to)
        reason = in_one_line(error)
        raise UserError(f"cannot fetch {repo_id} ({reason}); give the same command again, it goes on") from error


def _is_unlabelled(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in _UNLABELLED)
