"""What a ratio was measured on: the facts without which it cannot be read, made even."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys


def _first(path: str, key: str) -> str:
    """The value of `key` in a file of "key : value" lines; empty when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()
    except OSError:
        pass
    return ""


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return " ".join(platform.libc_ver())


def facts() -> dict[str, object]:
    flags = _first("/proc/cpuinfo", "flags").split()
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "virtual": "hypervisor" in flags,
        "cores": os.cpu_count(),
        "allowed_cores": len(os.sched_getaffinity(0)),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "load": list(os.getloadavg()),
        "python": sys.version.replace("\n", " "),
        "libc": _libc(),
        "transparent_hugepage": _line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "open_descriptors": len(os.listdir("/proc/self/fd")) - 1,
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "environment_bytes": sum(len(k) + len(v) + 2 for k, v in os.environb.items()),
    }


def available_mebibytes() -> int:
    """Memory that can be had without swapping; 0 when nobody tells."""
    words = _first("/proc/meminfo", "MemAvailable").split()
    return int(words[0]) >> 10 if words else 0


def keep_to_ourselves() -> None:
    """Marks what we inherited beyond the standard streams close-on-exec, as all of Python's own
    descriptors are. Shells and terminals leak some; without the mark the floor would hand them on
    to its children, and those that close them would do more work."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # listdir's own has gone
            if int(name) > 2:
                os.set_inheritable(int(name), False)
