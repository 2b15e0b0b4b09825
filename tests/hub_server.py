"""
A stand-in for the Hugging Face Hub, in memory, on 127.0.0.1: tests run the real clients against it.

    with HubServer() as hub:
        hub.add_folder("ann/net", folder)
        run_python(["-c", program], **hub.environment(home, token="hf_ann"))

The clients read HF_ENDPOINT when they are imported, hence the process. A token `hf_NAME` is that of the user NAME, who
may write to the repositories of that namespace. Large files travel by git-lfs, or by Xet if the environment says so.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Event, Lock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from xet_server import MalformedError, XetStorage


Failure = int | Literal["drop", "cut", "hang", "drip", "spoil", "gone"]

# By name, as the .gitattributes says that the Hub gives every new repository; and whatever is larger.
LFS_SUFFIXES = (".bin", ".onnx", ".parquet", ".pt", ".pt2", ".pth", ".safetensors", ".zip")
LFS_SIZE = 10 * 2**20
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()

_NAME = r"([\w.-]+/[\w.-]+)"
_FILE = re.compile(rf"/(datasets/|spaces/)?{_NAME}/resolve/([^/]+)/(.+)")
_REPO_API = re.compile(rf"/api/(model|dataset|space)s/{_NAME}(?:/([\w-]+))?(?:/([^/]+))?(?:/(.+))?")
_LFS_BATCH = re.compile(rf"/(datasets/|spaces/)?{_NAME}\.git/info/lfs/objects/batch")
_LFS_OBJECT = re.compile(r"/lfs/([0-9a-f]{64})")
_XET = re.compile(r"/xet/(?:v(\d)/)?([\w-]+)(?:/default)?(?:/([0-9a-f]{64}))?(?:/grant/1)?")


@dataclass(frozen=True)
class Commit:
    """One state of a repository: all its `files`, and the `paths` that were added, changed or deleted."""

    oid: str
    title: str
    description: str
    parents: list[str]
    paths: list[str]
    files: dict[str, bytes] = field(repr=False)


@dataclass
class Repo:
    """A repository. `commits` are those of all branches, the oldest first; branches and tags give their ids."""

    repo_id: str
    repo_type: str = "model"
    gated: bool = False
    private: bool = False
    sdk: str | None = None  # of a Space
    granted: set[str] = field(default_factory=set)  # users who may read it nevertheless, next to the owner
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def address(self) -> str:
        """Where it lies below the Hub's URL."""
        return self.repo_id if self.repo_type == "model" else f"{self.repo_type}s/{self.repo_id}"

    @property
    def files(self) -> dict[str, bytes]:
        """Those of the main branch."""
        return self.at("main").files

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or an id names; KeyError if none."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return {commit.oid: commit for commit in self.commits}[oid]

    def commit(self, title: str, changes: Mapping[str, bytes | None], branch="main", description="") -> Commit:
        """Put `changes` on top of a branch; None deletes a file."""
        parents = [self.branches[branch]] if branch in self.branches else []
        files = {**(self.at(parents[0]).files if parents else {}), **changes}
        files = {path: content for path, content in files.items() if content is not None}
        # As in git, the id follows from the content: the same pushes have the same ids in every run.
        oid = _sha1(repr((title, description, parents, _listing(files))).encode())
        self.commits.append(Commit(oid, title, description, parents, sorted(changes), files))
        self.branches[branch] = oid
        return self.commits[-1]


class HubServer:
    """
    A Hub, while inside its `with` block.

    Attributes:
        repos: by address: `user/name` of a model, `datasets/user/name` of a data set, `spaces/user/name` of a Space.
        renamed: addresses that lead to another one, unless a repository is made there.
        requests: what was asked for, as `(method, path)`, the oldest first.
        lfs_objects: by SHA-256; uploaded, by git-lfs or by Xet, and not necessarily committed.
        xet: what came by Xet.
        faults: what `fail_next` asked for and no request has met.
    """

    def __init__(self):
        self.forget()
        self.over = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """All that was said, sent or asked for: a test may then take the server as new."""
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.lfs_objects: dict[str, bytes] = {}
        self.xet = XetStorage()
        self.faults: list[tuple[str, str, Failure]] = []
        self.retry_after = "1"  # what 429 and 503 say
        self.gone_until = 0.0

    def add_repo(
        self, repo_id: str, files: Mapping[str, bytes] = {}, repo_type="model", gated=False, private=False
    ) -> Repo:
        """
        A new repository with one commit.

        Args:
            gated: everybody sees it, but only its owner and `granted` users read its files.
            private: for everybody but these it does not exist.
        """
        repo = Repo(repo_id, repo_type, gated, private)
        repo.commit("initial commit", files)
        self.repos[repo.address] = repo
        return repo

    def add_folder(self, repo_id: str, folder: Path, repo_type="model") -> Repo:
        """A new repository that holds a folder as it lies."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return self.add_repo(repo_id, files, repo_type)

    def fail_next(self, method: str, path_contains: str, status: Failure, times: int = 1) -> None:
        """
        Let the next matching requests fail.

        Args:
            method: in capitals.
            path_contains: any part of the path.
            status: an HTTP status, answered instead of doing anything; "drop", which closes the connection instead of
                doing anything; "cut", which does what is asked and closes the connection halfway in the answer;
                "hang", which never answers; "drip", which does what is asked and answers a byte at a time; "spoil",
                which takes one bit of what was sent for another; or "gone": all connections close for a second.
            times: how many requests fail.
        """
        self.faults += [(method, path_contains, status)] * times

    def environment(self, home: Path, token: str | None = None, xet: bool = False) -> dict[str, str]:
        """For a process that shall take this for the Hub, with caches of its own in `home` and no other token."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_MODULES_CACHE": str(home / "modules"),
            "HF_TOKEN": token or "",
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_DISABLE_XET": "0" if xet else "1",  # otherwise it takes every upload of a large file
            "HF_XET_XORB_COMPRESSION_POLICY": "none",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets would tell a server elsewhere
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@dataclass
class _Answer:
    status: int
    body: Any = b""  # sent as JSON unless bytes
    headers: dict[str, str] = field(default_factory=dict)


class _RefusedError(Exception):
    """By the code in a header the clients tell one refusal from another."""

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] = {}, **body: str):
        codes = {"X-Error-Code": code} if code else {}
        self.answer = _Answer(status, {"error": message, **body}, {"X-Error-Message": message, **codes, **headers})


class _Handler(BaseHTTPRequestHandler):
    """One connection: HTTP comes first, then what the Hub does at each address."""

    hub: HubServer
    lock = Lock()  # clients send several files at a time
    protocol_version = "HTTP/1.1"  # and keep their connections
    disable_nagle_algorithm = True  # which holds each body back until the headers before it are acknowledged: 40 ms

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.lock:
            self.hub.requests.append((self.command, unquote(url.path)))
            fault = self._fault(unquote(url.path))
            if fault == "gone":
                self.hub.gone_until = time.monotonic() + 1
            if fault == "drop" or time.monotonic() < self.hub.gone_until:
                self.close_connection = True
                return
            if fault == "spoil":
                self.body = bytes([self.body[0] ^ 1]) + self.body[1:]
            try:
                if isinstance(fault, int):
                    headers = {"Retry-After": self.hub.retry_after} if fault in (429, 503) else {}
                    raise _RefusedError(fault, "fail_next asked for it", headers=headers)
                answer = _Answer(200) if fault == "hang" else self._answer(url.path)
            except _RefusedError as refused:
                answer = refused.answer
        if fault == "hang":
            self.close_connection = True
            self.hub.over.wait()
            return
        self._send(answer, cut=fault == "cut", drip=fault == "drip")

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  (the names http.server calls)

    def log_message(self, *_) -> None:
        """The tests' output is for the tests."""

    def _fault(self, path: str) -> Failure | None:
        for fault in self.hub.faults:
            method, path_contains, status = fault
            if method == self.command and path_contains in path:
                self.hub.faults.remove(fault)
                return status
        return None

    def _send(self, answer: _Answer, cut: bool, drip: bool) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if drip:
            with suppress(OSError):  # nobody listens that long
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    self.hub.over.wait(0.5)
        elif self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut or drip

    @property
    def _json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def _answer(self, path: str) -> _Answer:
        if match := _FILE.fullmatch(path):
            return self._file(self._repo((match[1] or "") + match[2]), unquote(match[3]), unquote(match[4]))
        if match := _LFS_BATCH.fullmatch(path):
            return self._lfs_batch(self._repo((match[1] or "") + match[2]))
        if match := _LFS_OBJECT.fullmatch(path):
            return self._lfs_object(match[1])
        if match := _XET.fullmatch(path):
            return self._xet(match[2], int(match[1] or 0), match[3])
        if match := _REPO_API.fullmatch(path):
            kind, name, action, revision, rest = (unquote(part or "") for part in match.groups())
            repo = self._repo(name if kind == "model" else f"{kind}s/{name}")
            match self.command, action:
                case "GET", "" | "revision":
                    return self._info(repo, self._at(repo, revision or "main"))
                case "GET", "refs":
                    return self._refs(repo)
                case "GET", "auth-check":
                    if revision == "write":
                        self._require_owner(repo.owner)
                    return _Answer(200, {})
                case "GET", "xet-write-token" | "xet-read-token":
                    return self._xet_token(repo, action)
                case "GET", "tree":
                    return self._tree(self._at(repo, revision), rest)
                case "POST", "paths-info":
                    return self._paths_info(self._at(repo, revision))
                case "POST", "preupload":
                    return self._preupload(self._at(repo, revision))
                case "POST", "commit":
                    return self._commit(repo, revision)
                case "POST", "tag":
                    return self._new_ref(repo, repo.tags, self._json["tag"], revision)
                case "POST", "branch":
                    return self._new_ref(repo, repo.branches, revision, self._json.get("startingPoint", "main"))
        match self.command, path:
            case "GET", "/api/whoami-v2":
                access = {"accessToken": {"displayName": "a token", "role": "write"}}
                return _Answer(200, {"type": "user", "name": self._require_user(), "orgs": [], "auth": access})
            case "POST", "/api/repos/create":
                return self._create_repo()
            case "POST", "/api/validate-yaml":
                return _Answer(200, {"errors": [], "warnings": []})
        raise _RefusedError(501, f"tests/hub_server.py does not know {self.command} {path}")

    # Who asks

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not token.startswith("hf_"):
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return token.removeprefix("hf_") or None

    def _require_user(self) -> str:
        if user := self._user():
            return user
        raise _RefusedError(401, "Invalid username or password.")

    def _require_owner(self, owner: str) -> None:
        if self._require_user() != owner:
            raise _RefusedError(403, f"You don't have the rights to write to {owner}'s repositories")

    def _repo(self, address: str) -> Repo:
        repo, user = self.hub.repos.get(address), self._user()
        if repo is None and address in self.hub.renamed:
            raise _RefusedError(
                307, "moved", headers={"Location": self.path.replace(address, self.hub.renamed[address])}
            )
        if repo is None or (repo.private and user not in {repo.owner, *repo.granted}):
            raise _RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")
        return repo

    # Reading

    def _at(self, repo: Repo, revision: str) -> Commit:
        try:
            return repo.at(revision)
        except KeyError:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None

    def _file(self, repo: Repo, revision: str, path: str) -> _Answer:
        user = self._user()
        if repo.gated and user not in {repo.owner, *repo.granted}:
            raise _RefusedError(403 if user else 401, f"Access to {repo.repo_id} is restricted", "GatedRepo")
        commit = self._at(repo, revision)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if path not in commit.files:  # which clients remember, for this commit
            raise _RefusedError(404, "Entry not found", "EntryNotFound", headers)
        content = commit.files[path]
        entry = _file_entry(path, content)
        headers["ETag"] = f'"{entry["oid"]}"'
        if "lfs" in entry:
            headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
            if entry["lfs"]["oid"] in self.hub.xet.hashes:  # otherwise the client takes the body
                address = f"{self.hub.url}/api/{repo.repo_type}s/{repo.repo_id}/xet-read-token/{commit.oid}"
                headers |= {"X-Xet-Hash": self.hub.xet.hashes[entry["lfs"]["oid"]],
                            "Link": f'<{address}>; rel="xet-auth"'}  # fmt: skip
        return self._part(content, headers)

    def _part(self, content: bytes, headers: dict[str, str]) -> _Answer:
        """What of `content` was asked for."""
        start, stop = self._range()
        if (start, stop) == (0, None):
            return _Answer(200, content, headers)
        stop, size = stop or len(content), len(content)
        if start >= size:
            raise _RefusedError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{min(stop, size) - 1}/{size}"
        return _Answer(206, content[start:stop], headers)

    def _range(self) -> tuple[int, int | None]:
        """First byte, and the one after the last."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        return (int(match[1]), int(match[2]) + 1 if match[2] else None) if match else (0, None)

    def _info(self, repo: Repo, commit: Commit) -> _Answer:
        files = [_file_entry(path, content) for path, content in sorted(commit.files.items())]
        siblings = [{"rfilename": file["path"]} for file in files]
        if self.query.get("blobs"):
            for sibling, file in zip(siblings, files):
                sibling |= {"size": file["size"], "blobId": file["oid"], "lfs": file.get("lfs")}
        about = {"id": repo.repo_id, "author": repo.owner, "sha": commit.oid, "siblings": siblings, "tags": []}
        return _Answer(200, {**about, "private": repo.private, "gated": "manual" if repo.gated else False})

    def _refs(self, repo: Repo) -> _Answer:
        def listed(refs: dict[str, str], kind: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in refs.items()]

        branches = {name: oid for name, oid in repo.branches.items() if not name.startswith("refs/pr/")}
        return _Answer(200, {"branches": listed(branches, "heads"), "tags": listed(repo.tags, "tags"), "converts": []})

    def _tree(self, commit: Commit, folder: str) -> _Answer:
        prefix = f"{folder}/" if folder else ""
        entries = [entry for entry in _listing(commit.files) if entry["path"].startswith(prefix)]
        if folder and not entries:
            raise _RefusedError(404, f"{folder} does not exist", "EntryNotFound", {"X-Repo-Commit": commit.oid})
        if self.query.get("recursive", "false").lower() != "true":
            entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(prefix)]
        return _Answer(200, self._with_xet(entries))

    def _paths_info(self, commit: Commit) -> _Answer:
        wanted = parse_qs(self.body.decode())["paths"]
        return _Answer(200, self._with_xet([entry for entry in _listing(commit.files) if entry["path"] in wanted]))

    def _with_xet(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        hashes = self.hub.xet.hashes
        known = {entry["path"]: hashes.get(entry.get("lfs", {}).get("oid")) for entry in entries}
        return [entry | ({"xetHash": known[entry["path"]]} if known[entry["path"]] else {}) for entry in entries]

    # Writing

    def _create_repo(self) -> _Answer:
        asked = self._json
        owner, private = asked.get("organization") or self._require_user(), asked.get("visibility") == "private"
        self._require_owner(owner)
        repo = Repo(f"{owner}/{asked['name']}", asked.get("type", "model"), private=private, sdk=asked.get("sdk"))
        if repo.repo_type == "space" and repo.sdk not in {"gradio", "static", "docker"}:
            raise _RefusedError(400, "Invalid Space SDK")
        url = f"{self.hub.url}/{repo.address}"
        if repo.address in self.hub.repos:
            raise _RefusedError(409, f"You already created this {repo.repo_type} repo", url=url)
        repo.commit("initial commit", {".gitattributes": GITATTRIBUTES})
        self.hub.repos[repo.address] = repo
        return _Answer(200, {"url": url})

    def _new_ref(self, repo: Repo, refs: dict[str, str], name: str, revision: str) -> _Answer:
        self._require_owner(repo.owner)
        if name in refs:
            raise _RefusedError(409, f"Reference {name} already exists")
        refs[name] = self._at(repo, revision).oid
        return _Answer(200, {})

    def _preupload(self, commit: Commit) -> _Answer:
        self._require_user()
        files = []
        for asked in self._json["files"]:
            mode = "lfs" if _is_lfs(asked["path"], asked["size"]) else "regular"
            files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False})
            if asked["path"] in commit.files:  # the client leaves out what has the same id already
                entry = _file_entry(asked["path"], commit.files[asked["path"]])
                files[-1]["oid"] = entry.get("lfs", entry)["oid"]
        return _Answer(200, {"files": files})

    def _lfs_batch(self, repo: Repo) -> _Answer:
        self._require_user()
        objects = [{"oid": asked["oid"], "size": asked["size"]} for asked in self._json["objects"]]
        for lfs_object in objects:
            if lfs_object["oid"] not in self.hub.lfs_objects:
                action = {"href": f"{self.hub.url}/lfs/{lfs_object['oid']}"}
                lfs_object["actions"] = {"upload": action, "verify": action}
        return _Answer(200, {"transfer": "basic", "objects": objects})

    def _lfs_object(self, oid: str) -> _Answer:
        """PUT brings it, POST asks whether it has arrived."""
        if self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                raise _RefusedError(400, "The content is not what its id says")
            self.hub.lfs_objects[oid] = self.body
        elif len(self.hub.lfs_objects.get(oid, b"")) != self._json["size"]:
            raise _RefusedError(404, "LFS object not found")
        return _Answer(200, {})

    def _xet_token(self, repo: Repo, action: str) -> _Answer:
        if action == "xet-write-token" and not self.query.get("create_pr"):
            self._require_owner(repo.owner)
        address, expires = f"{self.hub.url}/xet", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": address, "X-Xet-Access-Token": action, "X-Xet-Token-Expiration": str(expires)}
        return _Answer(200, {"casUrl": address, "accessToken": action, "exp": expires}, headers)

    def _xet(self, what: str, version: int, name: str) -> _Answer:
        """The storage's own addresses. Its tokens tell reading from writing, not one repository from another."""
        storage, address = self.hub.xet, f"{self.hub.url}/xet/blocks/"
        if what != "blocks":  # those carry their permission in themselves
            needed = "xet-read-token" if what == "reconstructions" else "xet-write-token"
            if self.headers.get("Authorization") != f"Bearer {needed}":
                raise _RefusedError(401, f"not a {needed}")
        try:
            match self.command, what, version:
                case "POST", "xorb-grants", 1 if name in storage.xorbs:
                    return _Answer(200, {"was_inserted": False})
                case "POST", "xorb-grants", 1:
                    return _Answer(201, {"id": "1", "method": "PUT", "url": address + name, "headers": {}})
                case "PUT", "blocks", 0:
                    storage.granted[name] = self.body
                    return _Answer(200)
                case "POST", "xorb-commits", 1 if name in storage.granted:
                    return _Answer(200, {"was_inserted": storage.add_xorb(name, storage.granted.pop(name))})
                case "POST", "xorbs", 1:  # where there are no grants
                    return _Answer(200, {"was_inserted": storage.add_xorb(name, self.body)})
                case "POST", "shards", 2:
                    self.hub.lfs_objects |= storage.add_shard(self.body)
                    return _Answer(200, b'{"type": "result"}\n')
                case "GET", "reconstructions", 2 if name in storage.files:
                    found = storage.reconstruction(name, *self._range(), address)
                    if found is None:
                        raise _RefusedError(416, "Range not satisfiable")
                    return _Answer(200, found)
                case "GET", "blocks", 0 if name in storage.xorbs:
                    return self._part(storage.xorbs[name].content, {})
        except MalformedError as error:
            raise _RefusedError(400, str(error)) from error
        raise _RefusedError(404, f"{self.command} {what} {name}")  # chunks, too, which another client may have sent

    def _commit(self, repo: Repo, branch: str) -> _Answer:
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        answer: dict[str, Any] = {"success": True}
        if branch not in repo.branches:
            raise _RefusedError(404, f"{branch} is not a branch", "RevisionNotFound")
        head = repo.at(branch)
        if header["value"].get("parentCommit", head.oid) != head.oid:
            raise _RefusedError(412, "A commit has happened since. Please refresh and try again.")
        changes = {}
        for operation in operations:
            changes |= self._changes(operation["key"], operation["value"], head.files)
        if self.query.get("create_pr"):  # which everybody may
            self._require_user()
            number = 1 + sum(name.startswith("refs/pr/") for name in repo.branches)
            branch = f"refs/pr/{number}"
            repo.branches[branch] = head.oid
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo.address}/discussions/{number}"
        else:
            self._require_owner(repo.owner)
        commit = repo.commit(header["value"]["summary"], changes, branch, header["value"]["description"])
        url = f"{self.hub.url}/{repo.address}/commit/{commit.oid}"
        return _Answer(200, {**answer, "commitOid": commit.oid, "commitUrl": url})

    def _changes(self, key: str, value: dict[str, Any], files: dict[str, bytes]) -> dict[str, bytes | None]:
        path = value["path"]
        match key:
            case "file":
                return {path: base64.b64decode(value["content"])}
            case "lfsFile" if value["oid"] in self.hub.lfs_objects:
                return {path: self.hub.lfs_objects[value["oid"]]}
            case "deletedFile" if path in files:
                return {path: None}
            case "deletedFile":
                raise _RefusedError(404, "A file with this name doesn't exist", "EntryNotFound")
            case "deletedFolder":
                return {name: None for name in files if name.startswith(f"{path.rstrip('/')}/")}
        raise _RefusedError(400, f"Cannot commit {key} {path}")


# What git and the Hub make of files


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _is_lfs(path: str, size: int) -> bool:
    return size > LFS_SIZE or (size > 0 and path.endswith(LFS_SUFFIXES))


def _file_entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    if _is_lfs(path, len(content)):  # of which git itself holds a pointer
        sha256 = hashlib.sha256(content).hexdigest()
        content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        entry["lfs"] = {"oid": sha256, "sha256": sha256, "size": entry["size"], "pointerSize": len(content)}
    return {**entry, "oid": _sha1(b"blob %d\0" % len(content) + content)}


def _listing(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """All folders, then all files."""
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents} - {"."}
    entries = [{"type": "directory", "path": path, "size": 0, "oid": _sha1(path.encode())} for path in sorted(folders)]
    return entries + [_file_entry(path, content) for path, content in sorted(files.items())]
