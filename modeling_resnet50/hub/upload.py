"""
Sends what waits in a queue on the disk to the Hub. Training starts this file as a process of its own; it imports
nothing of the package, and the Hub's client only while something is sent, so it is up at once and stays small.

    queue/000001/item.json    where it goes, the fields of `Item`
    queue/000001/files/       what goes there
    published.jsonl           what has been sent, the oldest first
    upload.json               what is left, and what is in the way
    log.txt                   what the Hub's client says

A branch is made equal to the item's files, by one commit and only if it differs. So a try that was cut off anywhere is
simply made again, and nothing is ever committed twice.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock


FAREWELL = b"end\n"  # on standard input: nothing more will be queued
EXIT_REFUSED, EXIT_LEFT = 3, 4
LONGEST_DELAY = 300.0  # seconds between two tries
TIME_LIMIT = 300.0  # seconds for one try, for which the client itself has no limit, and …
SLOWEST_UPLOAD = 250_000.0  # … bytes per second, for what is large
BATCH_SIZE = 2**28  # bytes, about, of files that arrive for good together: what an interruption costs at most
# Folders that are all ours: a Space may have some of these, and the shards of an earlier packing would be read too.
_OUR_FOLDERS = {"space": ("examples/", "model/", "models/", "vendor/"), "dataset": ("data/",), "model": ()}
_PAGES = {"space": "spaces/", "dataset": "datasets/", "model": ""}

# Of one model: of several, transformers takes model.safetensors, which may be the one before.
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")

# Answers that no repetition will change: these, and every other 4xx but those that say "not now".
_NOT_NOW = (408, 409, 412, 423, 425, 429)
_REFUSALS = {
    401: "the Hub does not know who this is (401): run `hf auth login`, or set HF_TOKEN",
    403: "this token may not write to {repo} (403): give it write access there, or choose another repository",
    404: "{repo} is not there, or this token may not see it (404)",
    413: "the Hub refuses {repo} what is sent as too large (413)",
}
_OTHER_REFUSAL = "the Hub refuses {repo} what is sent ({status})"
# By Xet answers come as built-in exceptions, and only their text has the status, and the address.
_XET_TOKEN = "/xet-write-token/"  # which the Hub itself answers at
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})")


@dataclass(frozen=True)
class Item:
    """
    One branch of a repository, as it is to be.

    Attributes:
        repo_id: `user/name`; made if it is not there.
        revision: the branch; made if it is not there.
        message: of the commit.
        tag: put on the commit.
        private: whether a new repository is. None: as the user's settings have it.
        space_sdk: `"gradio"` or `"static"`: the repository is a Space.
        dataset: the repository is a data set. Otherwise, and if it is no Space: a model's.
        backup: all checkpoints in it are ours, also those that another machine has sent.
    """

    repo_id: str
    revision: str
    message: str
    tag: str | None = None
    private: bool | None = None
    space_sdk: str | None = None
    dataset: bool = False
    backup: bool = False

    @property
    def repo_type(self) -> str:
        if self.dataset:
            return "dataset"
        return "space" if self.space_sdk else "model"


class RefusedError(Exception):
    """Nothing that waiting would mend."""


# The queue


def enqueue(folder: Path, item: Item, files: dict[str, Path], growing: dict[str, Path] = {}) -> None:  # noqa: B006
    """
    Put files into the queue of `folder`, at once or not at all. They are linked, not copied, where the disk can.

    Args:
        files: by their path in the repository. None of them may be changed later, only replaced.
        growing: further ones, which are copied as they are now.
    """
    queue = folder / "queue"
    queue.mkdir(parents=True, exist_ok=True)
    with FileLock(queue / ".lock"):  # a run that trains may queue something as well
        number = 1 + max((int(path.name) for path in queue.glob("[0-9]*")), default=0)
        unfinished = queue / f".{number:06d}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for name, source in {**files, **growing}.items():
            target = unfinished / "files" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copyfile if name in growing else link_or_copy)(source, target)
        with (unfinished / "item.json").open("w") as file:
            file.write(json.dumps(asdict(item)) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the name: else a power failure may leave it empty, in the queue for ever
        unfinished.rename(queue / f"{number:06d}")


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """A copy where the disk cannot link: on another file system, or one without links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def waiting(folder: Path) -> list[Path]:
    """Items in the queue, the oldest first."""
    return sorted((folder / "queue").glob("[0-9]*"))


def read_item(path: Path) -> Item:
    return Item(**json.loads((path / "item.json").read_text()))


def next_item(folder: Path, but: Iterable[Path] = ()) -> Path | None:
    """
    The one to be sent now, but none of those. Those that a newer one for the same branch makes pointless are dropped.
    """
    paths = waiting(folder)
    items = {path: read_item(path) for path in paths}
    for position, path in enumerate(paths):
        if _place(items[path]) in [_place(items[later]) for later in paths[position + 1 :]]:
            _drop(path)
        elif path not in but:
            return path
    return None


def _place(item: Item) -> tuple[str, str, str]:
    return item.repo_type, item.repo_id, item.revision


def _drop(path: Path) -> None:
    done = path.with_name(f".{path.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    path.rename(done)  # at once, so that a kill leaves no half of it
    shutil.rmtree(done)


# One try, in a process of its own


def send(item: Item, files: dict[str, Path], ours: set[str]) -> dict[str, Any]:
    """
    Make a branch equal to some files.

    Args:
        files: by their path in the repository.
        ours: paths that were published before: those of them that are no longer there are deleted. Whatever else the
            repository holds is somebody else's, and stays.

    Returns:
        The `commit` that the branch points to now, its `url`, and how many `changes` it took: 0 if it was so already.

    Raises:
        RefusedError: the tag is on another commit.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    kind = item.repo_type
    repo_id = _repository(api, item.repo_id, private=item.private, repo_type=kind, space_sdk=item.space_sdk)
    head = _head(api, item, repo_id)
    remote = remote_files(api, repo_id, head, kind)
    changes = compare(files, remote, ours_in(item, remote, ours))
    additions = [CommitOperationAdd(name, str(files[name])) for name in changes["added"] + changes["changed"]]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions]
    operations += [CommitOperationDelete(name) for name in changes["deleted"]]
    if operations:
        for batch in _all_but_the_last_batch(additions):
            api.preupload_lfs_files(repo_id, batch, repo_type=kind, revision=item.revision)
        # The parent is named: whoever else commits meanwhile, this commit is then refused, and made anew.
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=item.message,
            repo_type=kind,
            revision=item.revision,
            parent_commit=head,
        )
        head = commit.oid
    if item.tag is not None:
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id, repo_type=kind).tags}
        if tags.get(item.tag, head) != head:
            raise RefusedError(
                f"{repo_id} has a tag {item.tag} already, on another commit: choose another hub_final_tag"
            )
        api.create_tag(repo_id, tag=item.tag, revision=head, exist_ok=True, repo_type=kind)
    page = f"{api.endpoint}/{_PAGES[kind]}{repo_id}"
    return {"commit": head, "url": f"{page}/tree/{item.revision}", "changes": len(operations)}


def _all_but_the_last_batch(additions: list[Any]) -> list[list[Any]]:
    """
    What is sent before the commit, which sends the rest. Xet puts the files of a call on record when it ends: of one
    that was killed, all would be sent again.
    """
    batches: list[list[Any]] = [[]]
    for addition in additions:
        if sum(sent.upload_info.size for sent in batches[-1]) >= BATCH_SIZE:
            batches.append([])
        batches[-1].append(addition)
    return batches[:-1]


def _repository(api: Any, repo_id: str, **settings: Any) -> str:
    """
    The name of a repository, which is made if it is not there.

    Of one that was renamed, the new name: what is read by the old one is redirected, but a repository that is made by
    it would be another one, and what is sent might not be redirected.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return str(api.repo_info(repo_id, repo_type=settings.get("repo_type")).id)
    except RepositoryNotFoundError:
        return str(api.create_repo(repo_id, exist_ok=True, **settings).repo_id)


def _head(api: Any, item: Item, repo_id: str) -> str:
    def heads() -> dict[str, str]:
        branches = api.list_repo_refs(repo_id, repo_type=item.repo_type).branches
        return {branch.name: branch.target_commit for branch in branches}

    found = heads()
    if item.revision not in found:
        api.create_branch(repo_id, branch=item.revision, exist_ok=True, repo_type=item.repo_type)
        found = heads()
    return found[item.revision]


def remote_files(api: Any, repo_id: str, revision: str, repo_type: str = "model") -> dict[str, str]:
    """Of each file of a repository: its SHA-256 if it is a large one, and otherwise git's id of its content."""
    entries = api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=repo_type)
    files = [entry for entry in entries if hasattr(entry, "blob_id")]
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}


def ours_in(item: Item, remote: dict[str, str], known: set[str]) -> set[str]:
    """Paths in a repository that are ours to delete: those `known` to be, and the folders that are all ours."""
    folders = ("checkpoints/",) if item.backup else _OUR_FOLDERS[item.repo_type]
    return known | {name for name in remote if name.startswith(folders)}


def compare(files: dict[str, Path], remote: dict[str, str], ours: set[str]) -> dict[str, list[str]]:
    """
    What has to be `added`, `changed` and `deleted` in a branch, and what is the `same`. Where weights are sent, those
    that lie there in other files go.
    """
    if any(map(_WEIGHTS.fullmatch, files)):
        ours = ours | {name for name in remote if _WEIGHTS.fullmatch(name)}
    same = [name for name, path in files.items() if name in remote and remote[name] in _ids(path)]
    return {
        "added": sorted(files.keys() - remote.keys()),
        "changed": sorted((files.keys() & remote.keys()) - set(same)),
        "deleted": sorted((ours & remote.keys()) - files.keys()),
        "same": sorted(same),
    }


def _ids(path: Path) -> tuple[str, str]:
    """Of a file's content, as the Hub has it: SHA-256, and git's SHA-1."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha256.update(block)
            git.update(block)
    return sha256.hexdigest(), git.hexdigest()


def files_of(folder: Path) -> dict[str, Path]:
    """All files in a folder, by their path in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def state_of(folder: Path) -> dict[str, Any]:
    """What the uploader last said: what is `waiting`, the `trouble`, and whether it was `refused`."""
    try:
        return json.loads((folder / "upload.json").read_text())
    except (FileNotFoundError, ValueError):  # nothing said yet, or spoilt by a power failure: it is said again
        return {"waiting": [], "trouble": None, "refused": False}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """What has been sent, the oldest first: the fields of each `Item`, the results of `send`, and the `files`."""
    record, records = folder / "published.jsonl", []
    for line in record.read_text(errors="replace").splitlines() if record.exists() else []:
        with suppress(ValueError):  # cut off by a power failure: what that sent counts as others' then, and stays
            records.append(json.loads(line))
    return records


def published(folder: Path, repo_id: str) -> set[str]:
    """Paths that were ever sent to a repository."""
    return {name for record in read_records(folder) if record["repo_id"] == repo_id for name in record["files"]}


def attempt(path: Path) -> dict[str, Any]:
    """
    Send an item once.

    Returns:
        What `send` does; or what was `refused` for good, in words; or the `failure` of this try, and after how many
        seconds the Hub wants to hear of it again, if it says so.
    """
    item = read_item(path)
    return explain_failures(
        item.repo_id, lambda: send(item, files_of(path / "files"), published(path.parents[1], item.repo_id))
    )


def prepare(repo_id: str, private: bool | None) -> dict[str, Any]:
    """
    Make a repository if it is not there, and ask whether we may write to it.

    Returns:
        Its `repo_id`, which is another one if it was renamed; the commit at its `head`; whether it is `private`, and a
        `model` or `checkpoints` are in it; and the text of the model's `recipe`, or None. Or failures as `attempt`'s.
    """
    from huggingface_hub import HfApi

    def action() -> dict[str, Any]:
        api = HfApi()
        name = _repository(api, repo_id, private=private)
        api.auth_check(name, write=True)
        info = api.model_info(name)
        files = [file.rfilename for file in info.siblings or []]
        recipe = None
        if "recipe.yaml" in files:
            with tempfile.TemporaryDirectory() as folder:
                recipe = Path(api.hf_hub_download(name, "recipe.yaml", local_dir=folder)).read_text(errors="replace")
        checkpoints = any(file.startswith("checkpoints/") for file in files)
        model = "config.json" in files
        about = {"repo_id": name, "head": info.sha, "private": info.private}
        return {**about, "model": model, "recipe": recipe, "checkpoints": checkpoints}

    return explain_failures(repo_id, action)


def explain_failures(repo_id: str, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of an action on the Hub, or its failure in words, as `attempt` returns it."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        return action()
    except RefusedError as error:
        return {"refused": str(error)}
    except LocalTokenNotFoundError:
        return {"refused": _REFUSALS[401]}
    except OfflineModeIsEnabled:
        return {"refused": "HF_HUB_OFFLINE is set: nothing can be published"}
    except HFValidationError as error:
        return {"refused": _one_line(error)}
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        refusal = _refusal(repo_id, status)
        if refusal is not None:
            # Of all but these there are several, such as a storage that is full.
            said = "" if status in (401, 404) else " ".join((error.server_message or "").split())
            return {"refused": refusal + (f". The Hub says: {said}" if said else "")}
        seconds = error.response.headers.get("Retry-After", "") if error.response is not None else ""
        return {"failure": _one_line(error), "after": float(seconds) if seconds.isdigit() else None}
    except (HTTPError, ConnectionError, TimeoutError) as error:  # no answer at all, or one to what was sent by Xet
        answer = _XET_STATUS.search(str(error))
        if answer is None:
            return {"failure": f"the Hub cannot be reached ({_one_line(error)})"}
        status = int(answer[1])
        # By a 400 the storage, unlike the Hub, may refuse what was spoilt on the way.
        is_final = status in _REFUSALS or _XET_TOKEN in str(error)
        refusal = _refusal(repo_id, status) if is_final else None
        return {"failure": _one_line(error)} if refusal is None else {"refused": refusal}
    except RuntimeError as error:  # the client's word for what goes wrong on the way to or from the storage
        status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
        if status == 413:
            return {"refused": _refusal(repo_id, status)}
        # The addresses that it gives for large files are good for some time only: a new try has new ones.
        return {"failure": _one_line(error) + (f" The storage answered {status}" if status else "")}
    except json.JSONDecodeError as error:
        return {"failure": f"the Hub's answer is not whole ({_one_line(error)})"}
    except ValueError as error:  # what the client itself, or the Hub through it, finds wrong with what is sent
        if "metadata" in str(error).lower() or "yaml" in str(error).lower():
            return {"refused": f"the Hub refuses the model card: {_one_line(error)}"}
        return {"refused": f"the Hub's client refuses this: {_one_line(error)}"}


def _refusal(repo_id: str, status: int | None) -> str | None:
    """What the Hub means for good by an answer, in words; None if it may be another one later."""
    if status is None or not 400 <= status < 500 or status in _NOT_NOW:
        return None
    return _REFUSALS.get(status, _OTHER_REFUSAL).format(repo=repo_id, status=status)


def _one_line(error: Exception) -> str:
    """Never with a token in it."""
    from huggingface_hub import get_token

    text = " ".join(str(error).split()) or type(error).__name__
    token = get_token()
    return text.replace(token, "hf_…") if token else text


# Again and again


class Uploader:
    """
    Sends a queue, the oldest item first, until it is empty and nobody will add to it, or only holds what is refused.

    Args:
        folder: holds the queue.
        wait: seconds to go on after training has ended.
        first_delay: seconds before the second try; doubled from then on.
        time_limit: seconds for one try, besides what large files take.
        shown: what the Hub's client says is shown, instead of going to log.txt.
    """

    def __init__(
        self,
        folder: Path,
        wait: float,
        first_delay: float = 1.0,
        time_limit: float = TIME_LIMIT,
        shown: bool = False,
    ):
        self.folder, self.wait, self.first_delay, self.time_limit = folder, wait, first_delay, time_limit
        self.shown = shown
        self._news = threading.Event()
        self._gone = False  # whether training is no longer there …
        self._ends_at: float | None = None  # … and had said that it would end

    def listen(self) -> None:
        """Training writes a line when there is something new; it is gone when its end of the pipe is closed."""
        # Without a buffer, whose lock this thread would hold when the process ends first: then Python aborts.
        with open(0, "rb", buffering=0, closefd=False) as training:
            for line in training:
                if line == FAREWELL:
                    self._ends_at = time.monotonic() + self.wait
                self._news.set()
        self._gone = True
        self._news.set()

    def nothing_more_comes(self) -> None:
        """Instead of `listen`, where nobody adds to the queue."""
        self._gone, self._ends_at = True, time.monotonic() + self.wait

    def run(self, patience: float = -1) -> int:
        """
        Args:
            patience: seconds to wait for another process that sends this queue; -1: until it has ended.

        Returns:
            0 if all is published, EXIT_REFUSED, or EXIT_LEFT.

        Raises:
            filelock.Timeout: it has not ended.
        """
        with FileLock(self.folder / ".lock", timeout=patience):
            return self._send_all()

    def _send_all(self) -> int:
        failures = 0
        refused: dict[Path, str] = {}  # which holds nothing up that goes elsewhere
        while True:
            path = next_item(self.folder, but=refused)
            refused = {kept: said for kept, said in refused.items() if kept.exists()}
            if path is None and refused:
                self._say(next(iter(refused.values())), refused=True)
                return EXIT_REFUSED
            if path is None:
                self._say()
                if self._gone:
                    return 0
                self._news.wait()
                self._news.clear()
                continue
            item = read_item(path)
            result = self._try(path)
            if "commit" in result:
                failures = 0
                self._record(path, item, result)
                continue
            if "refused" in result:
                refused[path] = result["refused"]
                continue
            failures += 1
            delay = result.get("after") or min(LONGEST_DELAY, self.first_delay * 2 ** (failures - 1))
            self._say(f"{result['failure']}; tried {failures} times, again in {delay:.0f} s")
            if not self._rest(delay):
                return EXIT_LEFT

    def _rest(self, seconds: float) -> bool:
        """Wait before the next try; False if there is to be none."""
        until = time.monotonic() + seconds
        while True:
            if self._gone and (self._ends_at is None or until > self._ends_at):
                return False
            left = until - time.monotonic()
            if left <= 0:
                return True
            self._news.clear()
            if not self._gone:
                self._news.wait(left)
            else:
                time.sleep(left)

    def _try(self, path: Path) -> dict[str, Any]:
        size = sum(file.stat().st_size for file in files_of(path / "files").values())
        limit = self.time_limit + size / SLOWEST_UPLOAD
        if self.shown:
            return in_a_process(["--attempt", str(path)], limit, log=None)
        with (self.folder / "log.txt").open("a") as log:
            return in_a_process(["--attempt", str(path)], limit, log)

    def _record(self, path: Path, item: Item, result: dict[str, Any]) -> None:
        entry = {**asdict(item), **result, "files": sorted(files_of(path / "files"))}
        with (self.folder / "published.jsonl").open("a") as record:
            record.write(json.dumps(entry) + "\n")
        _drop(path)

    def _say(self, trouble: str | None = None, refused: bool = False) -> None:
        """For `state_of`."""
        items = [read_item(path) for path in waiting(self.folder)]
        content = {
            "waiting": [f"{item.message} → {item.repo_id}@{item.revision}" for item in items],
            "trouble": trouble,
            "refused": refused,
        }
        unfinished = self.folder / ".upload.json.unfinished"
        unfinished.write_text(json.dumps(content) + "\n")
        unfinished.replace(self.folder / "upload.json")


def in_a_process(arguments: list[str], time_limit: float, log: IO | None, environment: dict | None = None) -> dict:
    """
    The result of this file with some arguments, in a process that can be ended: the client may wait for ever. It ends
    with this one, too.

    Args:
        log: takes what the client says; None: it is shown.
    """
    command = [sys.executable, "-P", __file__, *arguments]
    alive, held = os.pipe()  # whose other end is closed when this process is gone
    pipes: dict[str, Any] = {"stdin": alive, "stdout": subprocess.PIPE, "stderr": log}
    try:
        done = subprocess.run(command, **pipes, timeout=time_limit, text=True, env=environment)
    except subprocess.TimeoutExpired:
        return {"failure": f"no answer within {time_limit:.0f} s"}
    finally:
        os.close(alive)
        os.close(held)
    if done.returncode:
        where = f"; {log.name} has more" if log is not None else ""
        return {"failure": f"the Hub's client failed with exit code {done.returncode}{where}"}
    return json.loads(done.stdout.splitlines()[-1])


def _end_with_who_asked() -> None:
    os.read(0, 1)  # nothing is written there
    os._exit(EXIT_LEFT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="holds the queue")
    parser.add_argument("--attempt", type=Path, metavar="ITEM", help="send one item once, and print a result")
    parser.add_argument("--prepare", metavar="REPO", help="make a repository, ask for access, and print a result")
    parser.add_argument("--private", choices=["true", "false"])
    parser.add_argument("--wait", type=float, default=0.0)
    parser.add_argument("--first_delay", type=float, default=1.0)
    parser.add_argument("--time_limit", type=float, default=TIME_LIMIT)
    options = parser.parse_args()
    if options.attempt or options.prepare:
        threading.Thread(target=_end_with_who_asked, daemon=True).start()
    if options.attempt:
        # The queue has patience enough. Xet's own is minutes long, for which the end of training would wait.
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")
        print(json.dumps(attempt(options.attempt)))
        return 0
    if options.prepare:
        print(json.dumps(prepare(options.prepare, {"true": True, "false": False}.get(options.private))))
        return 0
    uploader = Uploader(options.folder, options.wait, options.first_delay, options.time_limit)
    threading.Thread(target=uploader.listen, daemon=True).start()
    return uploader.run()  # after one that is left of a training that was killed, which ends soon


if __name__ == "__main__":
    sys.exit(main())
