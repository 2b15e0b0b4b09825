"""A launcher on a host, which is a network namespace of Linux: `on_host.py NAME -m MODULE …`."""

import ctypes
import platform
import socket
import sys

from forking_launcher import launch


CLONE_NEWNET, CLONE_NEWUTS = 0x40000000, 0x04000000  # of <sched.h>


def enter(name: str) -> None:
    """`ip netns exec`, with the namespace's name for the host."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}") as network:
        if libc.setns(network.fileno(), CLONE_NEWNET) or libc.unshare(CLONE_NEWUTS):
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")
    socket.sethostname(name)
    platform._uname_cache = None  # some import has asked already


if __name__ == "__main__":
    enter(sys.argv[1])
    launch(sys.argv[2:])
