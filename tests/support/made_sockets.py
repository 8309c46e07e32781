"""Which addresses processes listen on, as Linux lists them."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
from pathlib import Path

_LISTENS = "0A"  # a socket's state in /proc/net/tcp


def descendants(pid: int) -> list[int]:
    """Returns a process and all that it started, directly or not."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended
            continue
    family = [pid]
    for member in family:  # grows while it is read
        family += [child for child, parent in parents.items() if parent == member]
    return family


def listening(pids: list[int]) -> set[str]:
    """Returns the addresses, such as "127.0.0.1", on which any of the processes accepts TCP connections."""
    inodes = set()
    for pid in pids:
        for number in os.listdir(f"/proc/{pid}/fd") if Path(f"/proc/{pid}/fd").exists() else ():
            with contextlib.suppress(OSError):  # closed meanwhile, such as the folder that is read here
                inodes.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                count = len(words) // 4  # words of 32 bits in this machine's order
                packed = struct.pack(f">{count}I", *struct.unpack(f"={count}I", words))
                addresses.add(str(ipaddress.ip_address(packed)))
    return addresses
