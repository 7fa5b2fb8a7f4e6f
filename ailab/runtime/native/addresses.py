"""Every Service gets a loopback address of its own, the same at every start."""

from __future__ import annotations

import ipaddress
import zlib


def assign(services: list[str], network: str) -> dict[str, str]:
    """Addresses by service name.

    An address follows from the name alone, so that turning a service on moves no other; where two names meet on one
    address, the later in the alphabet takes the next free one.

    Args:
        services: names, each once.
        network: a /16 such as "127.77.0.0/16".
    """
    base = int(ipaddress.IPv4Network(network).network_address)
    taken: set[int] = set()
    found = {}
    for name in sorted(services):
        # 256..65279: neither .0.x, which a person may use by hand, nor the network's broadcast end
        offset = 256 + zlib.crc32(name.encode()) % (65536 - 512)
        while offset in taken or offset % 256 in (0, 255):
            offset = offset + 1 if offset < 65279 else 257
        taken.add(offset)
        found[name] = str(ipaddress.IPv4Address(base + offset))
    return found
