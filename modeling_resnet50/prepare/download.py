"""
A file by HTTP that survives interruptions: ours, the server's and the disk's.

What has arrived lies in a hidden `.NAME.part`; `.NAME.part.json` beside it says which version of the file it is. When
all of it is here and the checksum right, it gets its name.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader

from resnet50_recipe.errors import UserError, in_one_line

from ..files import replaced_file
from .archives import disk_full_named


CHUNK = 2**18  # bytes: what an interruption can cost
MAX_FAILURES = 8  # in a row, without a byte in between
FIRST_WAIT = 1.0  # seconds; doubled with each failure in a row
LONGEST_WAIT = 300.0  # seconds, also for a server that asks for more

_TRANSIENT = {408, 425, 429}  # and all from 500 on


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    on_progress: Callable[[int, int | None, str], None] = lambda done, total, remark: None,
    wait: Callable[[float], None] = time.sleep,
    timeout: float = 30.0,
) -> Path:
    """
    Fetch a file, or go on with it: from the last byte that is here, if the server still has the same version of it
    (by ETag or Last-Modified, RFC 9110).

    Args:
        url: http or https; redirections are followed.
        path: what it is called when it is whole. If it is there, it is verified and nothing is fetched.
        size: in bytes, if known.
        md5: hexadecimal, if known. A file with another one is fetched a second time, as a whole.
        on_progress: called with bytes, total bytes (None: unknown) and a remark.
        wait: called with seconds between two attempts.
        timeout: seconds without a byte after which a connection counts as lost.

    Raises:
        UserError: the server refuses, fails again and again, or gives another file; the disk is full; another process
            fetches the same file.
    """
    if path.exists():
        verify(path, size=size, md5=md5)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process is fetching {path}") from None
    with lock, disk_full_named(path):
        download = _Download(url, path, size, on_progress, wait, timeout)
        for is_last in (False, True):
            download.fetch()
            try:
                verify(download.part, size=size, md5=md5, name=path.name)
                break
            except UserError as error:
                download.discard()
                if is_last:
                    raise UserError(f"{error}. That is what {url} has, twice in a row: try another address") from None
        with download.part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(download.part, path)
        download.note.unlink(missing_ok=True)
    return path


def verify(
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    on_progress: Callable[[int, int | None, str], None] = lambda done, total, remark: None,
    name: str | None = None,
) -> None:
    """
    Raises:
        UserError: the file has another size or MD5 sum.
    """
    name, actual = name or str(path), path.stat().st_size
    if size is not None and actual != size:
        raise UserError(f"{name} has {actual:,} bytes instead of {size:,}: not the right file, or not all of it")
    if md5 is None:
        return
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            done += len(block)
            on_progress(done, actual, "")
    if digest.hexdigest() != md5:
        raise UserError(f"{name} is damaged or another file: its MD5 sum is {digest.hexdigest()}, not {md5}")


class _AttemptError(Exception):
    """What went wrong this time; the server may have said how many seconds to wait."""

    def __init__(self, reason: str, seconds: float | None = None):
        super().__init__(reason)
        self.seconds = seconds


@dataclass
class _Version:
    """Which version of the file the bytes are of. `validator`: a strong ETag, or the time of the last change."""

    validator: str | None = None
    total: int | None = None


class _Download:
    """The part of a file that is here, and how more of it comes."""

    def __init__(self, url, path, size, on_progress, wait, timeout):
        self.url = url
        self.part = path.with_name(f".{path.name}.part")
        self.note = path.with_name(f".{path.name}.part.json")
        self.size = size
        self.on_progress = on_progress
        self.wait = wait
        self.timeout = timeout
        self.version = self._read_note()

    def fetch(self) -> None:
        """
        Until the part is as long as the file.

        Raises:
            UserError: refused, or too many failures without progress.
        """
        failures, before = 0, self._done()
        with requests.Session() as session:
            while not self._is_whole():
                try:
                    self._fetch_more(session)
                except _AttemptError as error:
                    failures = failures + 1 if self._done() <= before else 1
                    before = self._done()
                    if failures > MAX_FAILURES:
                        raise UserError(
                            f"cannot fetch {self.url} ({error}). {before:,} bytes of it are here: the same command "
                            "goes on from there"
                        ) from error
                    seconds = FIRST_WAIT * 2 ** (failures - 1) if error.seconds is None else error.seconds
                    seconds = min(seconds, LONGEST_WAIT)
                    self.on_progress(before, self.version.total, f"{error}; again in {seconds:.0f} s")
                    self.wait(seconds)

    def discard(self) -> None:
        """Start from nothing."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.version = _Version()

    def _done(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _is_whole(self) -> bool:
        return self.part.is_file() and self.version.total is not None and self._done() == self.version.total

    def _fetch_more(self, session: requests.Session) -> None:
        done = self._done()
        if done and self.version.validator is None:  # nothing tells whether the rest would be of the same file
            self.discard()
            done = 0
        headers = {"Accept-Encoding": "identity"}
        if done:
            headers |= {"Range": f"bytes={done}-", "If-Range": self.version.validator}
        try:
            with session.get(self.url, headers=headers, stream=True, timeout=self.timeout) as response:
                self._check_status(response)
                total = self._accept(response, done)
                self._write_body(response, total)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise _AttemptError(in_one_line(error)) from error
        except requests.RequestException as error:  # no such scheme, too many redirections, …
            raise UserError(f"cannot fetch {self.url}: {in_one_line(error)}") from error

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        reason = f"HTTP {status} {response.reason}".strip()
        if status == 416:  # the file is shorter than what is here: it is another one
            self.discard()
            raise _AttemptError(reason)
        if status in _TRANSIENT or status >= 500:
            raise _AttemptError(reason, _retry_after(response))
        raise UserError(f"{self.url} answers {reason}: choose another address, or fetch it by hand")

    def _accept(self, response: requests.Response, done: int) -> int | None:
        """The file's total size, as the server says; whatever does not fit what is here is refused or replaces it."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _AttemptError("the server compresses what it sends")
        if response.status_code == 206:
            given = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", given)
            if match is None or int(match[1]) != done:
                raise _AttemptError(f"asked for bytes {done}-, the server gives {given or 'others'}")
            if self.version.total not in (None, int(match[2])):
                self.discard()
                raise _AttemptError("the file on the server has another size now")
            self.version.total = int(match[2])
            return self.version.total
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdecimal() else None
        if self.size is not None and total not in (None, self.size):
            raise _AttemptError(f"the server announces {total:,} bytes instead of {self.size:,}")
        self.discard()
        etag = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified") if not etag or etag.startswith("W/") else etag
        self.version = _Version(validator, total)
        with replaced_file(self.note) as unfinished:
            unfinished.write_text(json.dumps({"url": self.url, "validator": validator, "total": total}))
        return total

    def _write_body(self, response: requests.Response, total: int | None) -> None:
        try:
            with self.part.open("ab", buffering=0) as file:
                while chunk := response.raw.read(CHUNK):
                    view = memoryview(chunk)
                    while view:  # a nearly full disk takes part of it
                        view = view[file.write(view) :]
                    self.on_progress(file.tell(), total, "")
        except HTTPError as error:
            raise _AttemptError(in_one_line(error)) from error
        if total is None:  # chunked encoding, which says itself where it ends
            self.version.total = self._done()
        elif self._done() != total:
            raise _AttemptError(f"the connection ended at byte {self._done():,} of {total:,}")

    def _read_note(self) -> _Version:
        try:
            note = json.loads(self.note.read_text())
            return _Version(note["validator"], note["total"]) if note["url"] == self.url else _Version()
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _Version()  # what the part is of is unknown: it will be fetched again


def _retry_after(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return None
