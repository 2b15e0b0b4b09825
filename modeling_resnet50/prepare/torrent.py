"""
One file by BitTorrent, with libtorrent as the engine: every piece is verified, and a stopped download goes on.

    folder/.NAME.part     the payload while pieces are missing; folder/NAME when all of them have been verified
    folder/.NAME.resume   the metadata, the peers known, and which pieces are there
    folder/.torrent.lock  one process at a time

The resume file vouches for the pieces only after a clean stop, when it holds the payload's modification time. While a
download runs it holds none, so whatever ends the process without warning leaves a file that vouches for nothing, and
the next start hashes all that is on the disk. The same happens if the payload was touched since.
"""

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from resnet50_recipe.errors import DISK_FULL, UserError, needs_packages

from ..files import replaced_file


if TYPE_CHECKING:
    import libtorrent as lt

RESUME_SAVE_INTERVAL = 60.0  # seconds
FLUSH_TIMEOUT = 300.0  # seconds; what the engine has still to write is at most 100 MB
LARGEST_RATE = 2**31 - 1  # bytes/s; the engine's settings are 32-bit

# The engine knows only its own; one that is down must not cost a home user the DHT.
DHT_BOOTSTRAP_NODES = (
    "dht.libtorrent.org:25401,router.bittorrent.com:6881,dht.transmissionbt.com:6881,router.utorrent.com:6881"
)

# Our key in the resume file, beside libtorrent's: the payload's modification time (ns) at a clean stop.
_PAYLOAD_TIME = b"modeling-resnet50 payload mtime_ns"

_ELSEWHERE = "What is there is kept for the next start. The data is also to be had over HTTP, on Kaggle or on the Hub"


@dataclass(frozen=True)
class TorrentSettings:
    """
    How to take part in the swarm.

    Args:
        download_rate, upload_rate: bytes/s, on the local network too; no limit if None.
        listen_interfaces: `address:port` pairs, separated by commas. Peers reach us there if the port is open.
        peers: `host:port` of peers to connect to, again and again while they are away.
        trackers: announce URLs, added to those of the magnet link or torrent file.
        dht: find peers without trackers.
        local_discovery: find peers on the local network.
        port_mapping: ask the router to open the port (UPnP, NAT-PMP).
        metadata_timeout: seconds to wait for the metadata of a magnet link.
        stall_timeout: seconds to wait for a new byte.
        progress_interval: seconds at most between two calls of `on_progress`.
    """

    download_rate: int | None = None
    upload_rate: int | None = None
    listen_interfaces: str = "0.0.0.0:6881,[::]:6881"
    peers: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    dht: bool = True
    local_discovery: bool = True
    port_mapping: bool = True
    metadata_timeout: float = 300.0
    stall_timeout: float = 900.0
    progress_interval: float = 0.5

    def __post_init__(self):
        for name in ("download_rate", "upload_rate"):
            rate = getattr(self, name)
            if rate is not None and rate < 1:
                raise UserError(f"{name} must be at least 1 byte/s, not {rate}; leave it out for no limit")


@dataclass(frozen=True)
class TorrentProgress:
    """
    Where a download stands.

    `done` and `total` are bytes: downloaded ones, or hashed ones while `checking` what lies on the disk; `total` is
    None until the metadata is there. Rates are bytes/s. `seconds_left` is None while nothing arrives. `idle_seconds`
    is the time since the last new byte, to be seen growing before a stall.
    """

    state: Literal["metadata", "checking", "downloading"]
    done: int
    total: int | None
    download_rate: int
    upload_rate: int
    peers: int
    seconds_left: float | None
    idle_seconds: float


def download_torrent(
    source: str | Path,
    folder: Path,
    *,
    expected_name: str | None,
    expected_size: int | None,
    expected_info_hash: str | None = None,
    settings: TorrentSettings | None = None,
    on_progress: Callable[[TorrentProgress], None],
) -> Path:
    """
    Download the one file of a torrent, or go on with it. While downloading we share; when it is there we leave.

    A file that already has its final name and size is taken as it is: it got the name when it had been verified.
    Ctrl-C stops cleanly, as does any exception out of `on_progress`.

    Args:
        source: a magnet link, the path of a `.torrent` file, or an info-hash (40 hexadecimal digits).
        folder: where the file goes.
        expected_name, expected_size, expected_info_hash: what the torrent must say of itself; size in bytes. They are
            compared before any payload is written; what is None is not.
        settings: `TorrentSettings()` if None.
        on_progress: called at least every `progress_interval`, also while nothing arrives.

    Returns:
        `folder / name`.

    Raises:
        UserError: libtorrent is missing; the source cannot be read or is another torrent than expected; its metadata
            is refused; no metadata, no peers or no new bytes in time; the disk is full or fails; another process is
            at work in the folder.
    """
    with needs_packages("BitTorrent", "torrent"):
        import libtorrent as lt
    settings = settings or TorrentSettings()
    params = _read_source(source)
    info_hash = _info_hash(params.info_hashes)
    if expected_info_hash is not None and info_hash != expected_info_hash.lower():
        raise UserError(f"{source} is another torrent: its info-hash is {info_hash}, not {expected_info_hash}")
    params.save_path = str(folder)
    params.peers = [_address(peer) for peer in settings.peers]
    params.trackers = list(dict.fromkeys([*params.trackers, *settings.trackers]))

    with _only_one_in(folder):
        if expected_name is not None:
            target = folder / expected_name
            if expected_size is not None and _is_there(target, expected_size):
                return target
            params.ti = params.ti or _read_metadata(_resume_file(target), info_hash)
        swarm = _Swarm(lt.session(_session_settings(settings)), settings, on_progress)
        if params.ti is None:
            params.ti = swarm.fetch_metadata(params)
        target = folder / _checked_name(params.ti, expected_name, expected_size)
        if not _is_there(target, params.ti.total_size()):
            swarm.download(params, target)
        return target


def identify(source: str | Path) -> tuple[str, str | None]:
    """
    The info-hash of a torrent, and the name it goes by: None if a magnet link gives none.

    Raises:
        UserError: libtorrent is missing, or the source cannot be read.
    """
    with needs_packages("BitTorrent", "torrent"):
        params = _read_source(source)
    return _info_hash(params.info_hashes), (params.ti.name() if params.ti else params.name) or None


class _EngineError(UserError):
    """The disk or the engine failed: nobody knows what has been written."""


class _Swarm:
    """A libtorrent session with one torrent in it, driven by its alerts."""

    def __init__(
        self, session: "lt.session", settings: TorrentSettings, on_progress: Callable[[TorrentProgress], None]
    ):
        self.session = session
        self.settings = settings
        self.on_progress = on_progress
        self.trouble = ""  # what the engine last complained of: a tracker's answer, a port in use

    def fetch_metadata(self, params: "lt.add_torrent_params") -> "lt.torrent_info":
        """The metadata from peers, verified against the info-hash. Writes nothing."""
        import libtorrent as lt

        # A torrent of its own, which may not touch the disk: the one that downloads starts when the name is checked.
        params.flags = lt.torrent_flags.upload_mode | lt.torrent_flags.default_dont_download
        with self._added(params) as handle:
            for status, _ in self._follow(handle):
                metadata = handle.torrent_file()
                if status.has_metadata and metadata is not None:
                    return metadata
        raise AssertionError("it is followed until there is metadata, or an error")

    def download(self, params: "lt.add_torrent_params", target: Path) -> None:
        """Download what is missing of the payload, and give it its name."""
        assert params.ti is not None
        part, resume = _part_file(target), _resume_file(target)
        size = params.ti.total_size()
        _recall_pieces(params, part, resume)
        if part.exists() and part.stat().st_size > size:
            os.truncate(part, size)  # the engine would leave what is too much
        params.flags = 0
        params.renamed_files = {0: part.name}
        # From here to a clean stop, the resume file must vouch for nothing.
        _write_resume(resume, params)
        with self._added(params) as handle:
            try:
                self._until_complete(handle, resume)
            except _EngineError:
                raise
            except BaseException:
                self._stop(handle, part, resume)
                raise
            self._stop(handle, part, resume)
        os.replace(part, target)
        resume.unlink()

    @contextmanager
    def _added(self, params: "lt.add_torrent_params") -> "Iterator[lt.torrent_handle]":
        handle = self.session.add_torrent(params)
        try:
            yield handle
        finally:
            self.session.remove_torrent(handle)

    def _until_complete(self, handle: "lt.torrent_handle", resume: Path) -> None:
        import libtorrent as lt

        saved = time.monotonic()
        for status, alerts in self._follow(handle):
            if status.is_seeding:
                return
            for alert in alerts:
                if isinstance(alert, lt.save_resume_data_alert):
                    _write_resume(resume, alert.params)
            if time.monotonic() - saved > RESUME_SAVE_INTERVAL:
                handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
                saved = time.monotonic()

    def _stop(self, handle: "lt.torrent_handle", part: Path, resume: Path) -> None:
        """Bring everything onto the disk, and have the resume file vouch for it."""
        import libtorrent as lt

        hashed = _state(handle.status()) != "checking"
        handle.pause()
        self._await(lt.torrent_paused_alert)  # posted when the files are written and closed
        handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
        params = self._await(lt.save_resume_data_alert).params
        payload_time = None
        if hashed and part.exists():
            with _disk_errors(part), open(part, "rb+") as file:
                os.fsync(file.fileno())
            payload_time = part.stat().st_mtime_ns
        _write_resume(resume, params, payload_time)

    def _follow(self, handle: "lt.torrent_handle") -> "Iterator[tuple[lt.torrent_status, list[lt.alert]]]":
        """The torrent's status and what happened, again and again; an error once it fails or stalls."""
        most, since = -1, time.monotonic()
        while True:
            alerts = self._alerts(self.settings.progress_interval)
            status = handle.status()
            state = _state(status)
            # Below the most there ever was, bytes are not new: a piece that failed its hash is fetched once more.
            if state == "checking" or status.total_done > most:
                most, since = max(most, status.total_done), time.monotonic()
            idle_seconds = time.monotonic() - since
            self.on_progress(_progress(status, state, idle_seconds))
            yield status, alerts
            settings = self.settings
            if idle_seconds > (settings.metadata_timeout if state == "metadata" else settings.stall_timeout):
                raise UserError(self._why_stalled(status, state, idle_seconds))

    def _await(self, kind: type) -> Any:
        end = time.monotonic() + FLUSH_TIMEOUT
        while time.monotonic() < end:
            for alert in self._alerts(self.settings.progress_interval):
                if isinstance(alert, kind):
                    return alert
        raise _EngineError(f"the disk did not write within {FLUSH_TIMEOUT:.0f} s: look after it, then start again")

    def _alerts(self, seconds: float) -> "list[lt.alert]":
        """What happened, after waiting for something to happen. Valid until the next call."""
        import libtorrent as lt

        self.session.wait_for_alert(round(1000 * seconds))
        alerts = self.session.pop_alerts()
        for alert in alerts:
            if isinstance(alert, lt.file_error_alert):
                raise _disk_error(alert.filename(), alert.error.value())
            if isinstance(alert, lt.torrent_error_alert | lt.metadata_failed_alert | lt.save_resume_data_failed_alert):
                raise _EngineError(f"the torrent failed: {alert.message()}")
            if alert.category() & lt.alert_category.error:
                self.trouble = alert.message()
        return alerts

    def _why_stalled(self, status: "lt.torrent_status", state: str, idle_seconds: float) -> str:
        peers = f"{status.num_peers} connected peer{'' if status.num_peers == 1 else 's'}"
        if state == "metadata":
            what, hint = f"no metadata from {peers}", "a .torrent file, which holds it, "
        elif status.num_peers == 0:
            what, hint = "no peers", ""
        else:
            what, hint = f"no new bytes from {peers}", "waiting for one that has the missing pieces, "
        dht = "" if self.settings.dht else ", DHT on"
        trouble = f" (the engine's last complaint: {self.trouble})" if self.trouble else ""
        return (
            f"{what} for {idle_seconds:.0f} s{trouble}. Try {hint}other trackers, a known peer (--peer host:port), "
            f"an open port ({self.settings.listen_interfaces}){dht}. {_ELSEWHERE}"
        )


@contextmanager
def _only_one_in(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".torrent.lock", blocking=False).acquire()
    except Timeout as error:
        raise UserError(f"another process downloads into {folder}: wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        yield


def _disk_error(path: str | Path, code: int) -> _EngineError:
    what_to_do = "make room" if code in DISK_FULL else "mend that"
    return _EngineError(
        f"cannot write {path}: {os.strerror(code)}; {what_to_do} and start again: what is there is kept"
    )


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error.errno or errno.EIO) from error


def _session_settings(settings: TorrentSettings) -> Any:
    import libtorrent as lt

    values = {
        "alert_mask": lt.alert_category.error | lt.alert_category.status | lt.alert_category.storage,
        "listen_interfaces": settings.listen_interfaces,
        "download_rate_limit": min(settings.download_rate or 0, LARGEST_RATE),  # 0: no limit
        "upload_rate_limit": min(settings.upload_rate or 0, LARGEST_RATE),
        "ignore_limits_on_local_network": False,  # a limit is a limit
        "announce_to_all_tiers": True,  # else the user's trackers are asked only when all others have failed
        "enable_dht": settings.dht,
        "dht_bootstrap_nodes": DHT_BOOTSTRAP_NODES,
        "enable_lsd": settings.local_discovery,
        "enable_upnp": settings.port_mapping,
        "enable_natpmp": settings.port_mapping,
    }
    if settings.peers:
        # The engine drops a peer that was away three times, and keeps one per address. Nobody finds the user's own
        # again: keep them all. Between two attempts pass as many seconds as attempts failed before.
        values |= {"max_failcount": 10_000, "min_reconnect_time": 1, "allow_multiple_connections_per_ip": True}
    return values


def _read_source(source: str | Path) -> "lt.add_torrent_params":
    import libtorrent as lt

    text = str(source)
    if re.fullmatch("[0-9a-fA-F]{40}", text):
        text = f"magnet:?xt=urn:btih:{text}"
    if text.startswith("magnet:"):
        try:
            return lt.parse_magnet_uri(text)
        except RuntimeError as error:
            raise UserError(
                f"cannot read the magnet link {source!r}: {error}; it needs xt=urn:btih: and 40 hexadecimal digits"
            ) from error
    try:
        return lt.load_torrent_buffer(Path(text).expanduser().read_bytes())
    except OSError as error:
        raise UserError(
            f"{source} is no magnet link, no info-hash of 40 hexadecimal digits, and no torrent file: {error.strerror}"
        ) from error
    except RuntimeError as error:
        raise UserError(f"{source} is damaged, or no torrent file ({error}): download it again") from error


def _info_hash(hashes: "lt.info_hash_t") -> str:
    return str(hashes.v1 if hashes.has_v1() else hashes.v2)


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"peer {peer!r} must be host:port")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0][4]
        return str(found[0]), int(found[1])
    except (OSError, UnicodeError) as error:  # a label of the name may be too long or empty
        raise UserError(f"peer {peer!r} cannot be found: {error}") from error


def _checked_name(ti: "lt.torrent_info", expected_name: str | None, expected_size: int | None) -> str:
    import libtorrent as lt

    if ti.num_files() != 1:
        raise UserError(f"the torrent {ti.name()!r} holds {ti.num_files()} files: it must be one file")
    info: Any = lt.bdecode(ti.info_section())
    name = info.get(b"name.utf-8", info[b"name"]).decode(errors="replace")
    # The engine takes separators and control characters out of names; one that it had to mend is not to be written to.
    if ti.layout().file_path(0) != name:
        raise UserError(f"the torrent's file name {name!r} is refused: it must be a plain name, without a folder")
    if expected_name is not None and name != expected_name:
        raise UserError(f"the torrent holds {name!r}, not {expected_name!r}")
    if expected_size is not None and ti.total_size() != expected_size:
        raise UserError(f"the torrent's {name} has {ti.total_size():,} bytes, not {expected_size:,}")
    return name


def _is_there(target: Path, size: int) -> bool:
    if not target.exists():
        return False
    if target.stat().st_size != size:
        raise UserError(f"{target} is in the way: it has {target.stat().st_size:,} bytes, not {size:,}; move it away")
    return True


def _part_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _resume_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.resume")


def _write_resume(resume: Path, params: "lt.add_torrent_params", payload_time: int | None = None) -> None:
    import libtorrent as lt

    entry = lt.write_resume_data(params)
    if payload_time is not None:
        entry[_PAYLOAD_TIME] = payload_time
    with _disk_errors(resume), replaced_file(resume) as unfinished:
        unfinished.write_bytes(lt.bencode(entry))


def _read_resume(resume: Path) -> "tuple[lt.add_torrent_params, int | None] | None":
    """What an earlier start left, and the payload's time if it vouches for the pieces. None if there is nothing."""
    import libtorrent as lt

    if not resume.exists():
        return None
    try:
        data = resume.read_bytes()
        params = lt.read_resume_data(data)
    except RuntimeError:  # cut off by a power failure: everything is found out anew
        return None
    resumed: Any = lt.bdecode(data)
    return (params, resumed.get(_PAYLOAD_TIME)) if params.ti else None


def _read_metadata(resume: Path, info_hash: str) -> "lt.torrent_info | None":
    earlier = _read_resume(resume)
    metadata = earlier[0].ti if earlier else None
    return metadata if metadata and _info_hash(metadata.info_hashes()) == info_hash else None


def _recall_pieces(params: "lt.add_torrent_params", part: Path, resume: Path) -> None:
    """Put into `params` which pieces are there, if that can be believed. Without, the engine hashes all of them."""
    earlier = _read_resume(resume)
    if earlier is None or not part.exists():
        return
    before, payload_time = earlier
    assert before.ti is not None
    assert params.ti is not None
    info_hash = _info_hash(before.ti.info_hashes())
    if info_hash != _info_hash(params.ti.info_hashes()):
        raise UserError(f"{part} is of another torrent ({info_hash}): finish that one, or delete the file")
    params.peers = [*params.peers, *before.peers]
    # Not `force_recheck()`: the engine would believe the pieces until the check starts, and could be done by then.
    if payload_time == part.stat().st_mtime_ns:
        params.have_pieces = before.have_pieces
        params.verified_pieces = before.verified_pieces
        params.unfinished_pieces = before.unfinished_pieces


def _state(status: "lt.torrent_status") -> Literal["metadata", "checking", "downloading"]:
    if not status.has_metadata:
        return "metadata"
    if status.state in (status.states.checking_files, status.states.checking_resume_data):
        return "checking"
    return "downloading"


def _progress(status: "lt.torrent_status", state: Any, idle_seconds: float) -> TorrentProgress:
    total = status.total_wanted if state != "metadata" else 0
    done = round(status.progress * total) if state == "checking" else status.total_done
    rate = status.download_payload_rate
    return TorrentProgress(
        state=state,
        done=done,
        total=total or None,  # nothing is wanted yet when the metadata has just come
        download_rate=rate,
        upload_rate=status.upload_payload_rate,
        peers=status.num_peers,
        seconds_left=(total - done) / rate if state == "downloading" and rate else None,
        idle_seconds=idle_seconds,
    )
