"""What a figure was measured on, to stand beside it in every result file, and how much memory is left."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

LIBRARIES = ("torch", "numpy", "polars")


def facts(device: str = "cpu") -> dict[str, object]:
    """The machine, the versions and the date; of work on another ``device`` also that one's name."""
    return {
        **({} if device == "cpu" else {"device": _device_name(device)}),
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "date": datetime.now(tz=UTC).date().isoformat(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_bytes() -> int | None:
    """Memory that can still be taken without swapping; None where the system does not say."""
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    found = info.read_text().partition("MemAvailable:")[2].split()
    return int(found[0]) * 1024 if found else None


def _device_name(device: str) -> str:
    import torch

    return f"{device}: {torch.cuda.get_device_name(device)}"


def _cpu() -> str:
    """The processor's name; some virtual machines hide it, then its family and model."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    first = info.read_text().split("\n\n")[0]
    split = (line.partition(":") for line in first.splitlines())
    fields = {key.strip(): value.strip() for key, colon, value in split if colon}
    name = fields.get("model name", platform.processor())
    if name in ("", "unknown"):
        name = f"{fields.get('vendor_id', '')} family {fields.get('cpu family', '?')} model {fields.get('model', '?')}".strip()
    return name
