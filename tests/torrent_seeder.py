"""
The two ends of a transfer, each a process of its own: `torrent_seeder.py seed …` and `torrent_seeder.py download …`.

Neither imports the package's `__init__`, and with it torch: a downloader is started dozens of times.
"""

import argparse
import dataclasses
import json
import resource
import signal
import sys
import types
from pathlib import Path

import libtorrent as lt


PACKAGE = Path(__file__).parents[1] / "modeling_resnet50"


def seed(arguments: argparse.Namespace) -> None:
    """Print the port, then serve the pieces of `folder` that are right until stdin closes."""
    params = lt.load_torrent_file(str(arguments.torrent))
    params.save_path = str(arguments.folder)
    params.flags = 0
    session = lt.session(
        {
            "listen_interfaces": f"127.0.0.1:{arguments.port}",
            "alert_mask": lt.alert_category.status,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "upload_rate_limit": arguments.rate,
            "ignore_limits_on_local_network": False,
            "allow_multiple_connections_per_ip": True,  # a killed downloader's may linger
            "tick_interval": 50,  # milliseconds; a rate limit is handed out in as many portions
        }
    )
    session.add_torrent(params)
    print(session.listen_port(), flush=True)
    sys.stdin.read()


def download(arguments: argparse.Namespace) -> None:
    """Print each progress as a line of JSON, and at last the path or the error."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in its background without
    if arguments.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.largest_file,) * 2)
    package = types.ModuleType("modeling_resnet50")
    package.__path__ = [str(PACKAGE)]
    sys.modules["modeling_resnet50"] = package
    from modeling_resnet50.prepare.torrent import TorrentSettings, download_torrent
    from resnet50_recipe.errors import user_errors_exit_cleanly

    def report(progress) -> None:
        print(json.dumps(dataclasses.asdict(progress)), flush=True)

    with user_errors_exit_cleanly():
        settings = json.loads(arguments.settings)
        settings["peers"] = tuple(settings["peers"])
        path = download_torrent(
            arguments.source,
            arguments.folder,
            expected_name=arguments.expected_name,
            expected_size=None,
            settings=TorrentSettings(**settings),
            on_progress=report,
        )
        print(json.dumps({"path": str(path)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("seed")
    command.add_argument("torrent", type=Path)
    command.add_argument("folder", type=Path)
    command.add_argument("--port", type=int, default=0)
    command.add_argument("--rate", type=int, default=0)
    command.set_defaults(run=seed)
    command = commands.add_parser("download")
    command.add_argument("source")
    command.add_argument("folder", type=Path)
    command.add_argument("expected_name")
    command.add_argument("settings", help="JSON")
    command.add_argument("--largest-file", type=int, help="bytes that the disk is said to take")
    command.set_defaults(run=download)
    arguments = parser.parse_args()
    arguments.run(arguments)
