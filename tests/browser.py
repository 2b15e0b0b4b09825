"""A real browser for tests of pages: Debian's Chromium, driven by Playwright; and transformers.js, from npm."""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from modeling_resnet50.hub.spaces.writing import TRANSFORMERS_JS_VERSION


# A camera that shows a test picture, and no question whether it may be used
_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "modeling-resnet50"


def _lacking(what: str, how: str) -> None:
    """Skips the test; on the continuous integration, fails it."""
    message = f"{what} is not there: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextmanager
def open_browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        _lacking("Chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *_CAMERA])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, **settings) -> Iterator[Page]:
    """A page that may not ask any other server than those on this machine, and fails if it tries, or has an error."""
    page = browser.new_page(**settings)
    page.set_default_timeout(120_000)  # milliseconds, on a machine that has other things to do
    wrong = []

    def answer(route) -> None:
        if urlsplit(route.request.url).hostname in (None, "127.0.0.1"):
            route.continue_()
        else:
            wrong.append(route.request.url)
            route.abort()

    page.route("**/*", answer)
    page.on("pageerror", lambda error: wrong.append(error.message))
    yield page
    page.close()
    assert not wrong, wrong


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served as it lies."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            """The tests' output is for the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def node_modules() -> Path:
    """As `npm install` would write it, but only what a page needs; fetched once, into the user's cache."""
    place = _CACHE / f"transformers.js-{TRANSFORMERS_JS_VERSION}"
    if place.exists():
        return place
    if shutil.which("npm") is None:
        _lacking("npm", "apt-get install npm")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        unfinished = Path(scratch) / "node_modules"
        package = _unpack("@huggingface/transformers", TRANSFORMERS_JS_VERSION, "transformers.min.js", unfinished)
        runtime = json.loads((package / "package.json").read_bytes())["dependencies"]["onnxruntime-web"]
        _unpack("onnxruntime-web", runtime, "ort-wasm-simd-threaded.asyncify.", unfinished)
        unfinished.rename(place)
    return place


def _unpack(name: str, version: str, wanted: str, node_modules: Path) -> Path:
    """From npm's archive of a package, package.json and what in dist/ begins with `wanted`."""
    command = ["npm", "pack", f"{name}@{version}", "--silent", "--pack-destination", str(node_modules.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        _lacking(f"{name} {version}", f"npm cannot fetch it ({' '.join(done.stderr.split())[-200:]})")
    folder = node_modules / name
    with tarfile.open(node_modules.parent / done.stdout.split()[-1]) as archive:
        for member in archive:
            path = member.name.removeprefix("package/")
            if path == "package.json" or path.startswith(f"dist/{wanted}"):
                member.name = path
                archive.extract(member, folder, filter="data")
    return folder
