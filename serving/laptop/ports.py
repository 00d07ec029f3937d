"""Which port an address of the laptop has: the one of last time, or the first free one."""

import contextlib
from typing import Any

from serving.laptop.listener import Listener
from serving.laptop.store import Store


async def open_port(listener: Listener, store: Store, record: dict[str, Any], host: str, port_base: int) -> str:
    """Open ``record["port"]``, or for a new record (0) the first free port from ``port_base``, and note it there.

    Returns "" when that worked, else a sentence that says what is in the way.
    """
    kept = record["port"]
    held = [r["port"] for kind in ("services", "graphs") for r in store.extra.get(kind, {}).values()]
    for port in [kept] if kept else [p for p in range(port_base, port_base + 200) if p not in held]:
        with contextlib.suppress(OSError):
            await listener.listen(host, port)
            record["port"] = port
            return ""
    place = f"port {kept}" if kept else f"ports {port_base} to {port_base + 199}"
    return f"{place} of {host} in use by another program; stop it, then restart the control plane"
