"""
A stand-in for the Hub on 127.0.0.1, so that tests run the real clients: huggingface_hub, transformers, timm.

Only what these ask for when they download: a repository's files, their list, and whether the repository exists.
"""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """
    Serves `repos`, a dictionary of `user/name` to `{path: bytes}`, while inside its `with` block.

    `requests` lists what was asked for, as `(method, path)`.
    """

    def __init__(self):
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def add_folder(self, repo_id: str, folder: Path) -> None:
        """Publish a folder as it lies."""
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repos[repo_id] = {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def environment(self, home: Path) -> dict[str, str]:
        """For a process that shall take this for the Hub, with a cache of its own in `home`."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            if match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/[^/]+)?", path):
                self._info(match[1])
            elif match := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/[^/]+(?:/(.*))?", path):
                self._tree(match[1], match[2] or "")
            elif match := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)", path):
                self._file(match[1], match[2])
            else:
                self._error("EntryNotFound")

        do_HEAD = do_GET  # noqa: N815  (the name http.server calls)

        def _info(self, repo_id: str) -> None:
            if repo_id not in hub.repos:
                return self._error("RepoNotFound")
            siblings = [{"rfilename": name} for name in hub.repos[repo_id]]
            self._json({"id": repo_id, "modelId": repo_id, "sha": COMMIT, "siblings": siblings, "private": False})

        def _tree(self, repo_id: str, folder: str) -> None:
            files = hub.repos.get(repo_id)
            if files is None:
                return self._error("RepoNotFound")
            inside = {name: content for name, content in files.items() if name.startswith(folder)}
            if folder and not inside:
                return self._error("EntryNotFound")
            self._json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in inside.items()
                ]
            )

        def _file(self, repo_id: str, name: str) -> None:
            if repo_id not in hub.repos:
                return self._error("RepoNotFound")
            content = hub.repos[repo_id].get(name)
            if content is None:
                return self._error("EntryNotFound")
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

        def _json(self, value) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _error(self, code: str) -> None:
            self._send(404, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_):
            """The tests' output is for the tests."""

    return Handler
