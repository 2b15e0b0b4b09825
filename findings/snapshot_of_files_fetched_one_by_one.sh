#!/usr/bin/env bash
# One would guess: snapshot_download without a network gives the whole repository or raises IncompleteSnapshotError, as since 2.4 it does after a download that was broken off.
# True:            it knows what is missing only where snapshot_download itself has listed the repository: of files that came one by one, by hf_hub_download or from_pretrained, it hands over what there is as the whole: half of the shards, no weights.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import hashlib
import http.server
import json
import os
import threading

FILES = {f"data/train-{part}-of-4.parquet": bytes([part]) * 1000 for part in range(4)}


class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, headers = self.path.split("?")[0], {}
        if "/resolve/" in path:
            body = FILES[path.split("/resolve/")[1].split("/", 1)[1]]
            headers = {"X-Repo-Commit": "a" * 40, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'}
        elif "/tree/" in path:
            body = json.dumps([{"type": "file", "path": name, "size": 1000, "oid": hashlib.sha1(data).hexdigest()} for name, data in FILES.items()])
        else:
            body = json.dumps({"id": "me/flowers", "sha": "a" * 40, "siblings": [{"rfilename": name} for name in FILES]})
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
import huggingface_hub
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import IncompleteSnapshotError

where = {"repo_id": "me/flowers", "repo_type": "dataset"}
for name in list(FILES)[:2]:
    hf_hub_download(filename=name, cache_dir="one_by_one", **where)
snapshot_download(allow_patterns=list(FILES)[:2], cache_dir="listed", **where)
server.shutdown()
server.server_close()  # the network is gone
folder = snapshot_download(cache_dir="one_by_one", **where)
print(f"huggingface_hub {huggingface_hub.__version__}: two of four files are here, and the Hub is not; snapshot_download gives")
print(f"after hf_hub_download: {sorted(os.listdir(f'{folder}/data'))}")
assert len(os.listdir(f"{folder}/data")) == 2
try:
    snapshot_download(cache_dir="listed", **where)
except IncompleteSnapshotError as error:
    print(f"after snapshot_download(allow_patterns=...): {type(error).__name__}")
else:
    raise SystemExit("after snapshot_download(allow_patterns=...): a part as well")
PYTHON_CODE
