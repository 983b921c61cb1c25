"""What the numbers were measured on, and what else ran there meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("outthink", "torch", "transformers", "llama-cpp-python", "numpy")


@dataclass
class Watch:
    """Load averages and the cores that other processes kept busy, section by section."""

    loads: list[float] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)  # cores, mean over the section

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Measure what else runs while the block does."""
        busy, own, began = _busy_seconds(), _own_seconds(), time.perf_counter()
        self.loads.append(os.getloadavg()[0])
        try:
            yield
        finally:
            self.loads.append(os.getloadavg()[0])
            wall = time.perf_counter() - began
            others = (_busy_seconds() - busy) - (_own_seconds() - own)
            self.others[name] = max(0.0, others / wall)

    def lines(self) -> list[str]:
        """The same as text."""
        if not self.loads:
            return []
        shares = "; ".join(f"{name}: {cores:.2f}" for name, cores in self.others.items())
        return [
            f"Load average (1 minute) during the run: {min(self.loads):.2f} to {max(self.loads):.2f}; "
            "the benchmark itself is part of it.",
            f"Cores that other processes (and the hypervisor) took, mean of each part. {shares}.",
        ]


def _busy_seconds() -> float:
    """Core seconds that were not idle, of the whole machine; 0 where /proc/stat is missing."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, path.read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Core seconds of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def cpu_name() -> str:
    """The processor as it calls itself, with what matters for speed."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    fields = dict(
        line.split(":", 1) for line in path.read_text().split("\n\n")[0].splitlines() if ":" in line
    )
    facts = {key.strip(): value.strip() for key, value in fields.items()}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in facts.get("flags", "").split()]
    model = f"family {facts.get('cpu family', '?')} model {facts.get('model', '?')}"
    return f"{facts.get('model name', platform.machine())} ({model}; {', '.join(flags)})"


def memory_gib() -> float:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def versions() -> dict[str, str]:
    """The packages that were compared."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe() -> list[str]:
    """The machine in lines of text."""
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return [
        f"{cpu_name()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, "
        f"{platform.system()} {platform.release()}.",
        f"{packages}. torch: {torch.backends.cpu.get_cpu_capability()}.",
        f"Begun {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC.",
    ]
