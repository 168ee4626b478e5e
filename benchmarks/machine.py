"""Where and with what a benchmark ran."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = (
    "fanlight",
    "fanlight-kernel",
    "grpcio",
    "protobuf",
    "numpy",
    "hnswlib",
    "chromadb",
    "faiss-cpu",
    "milvus-lite",
    "pymilvus",
    "qdrant-edge-py",
    "matplotlib",
)
_ROOT = Path(__file__).parent.parent


def environment() -> dict[str, Any]:
    """Describe the machine, the versions and the commit, as JSON values."""
    return {
        "machine": description(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "load_average_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": _versions(),
        "grpc_experiments": os.environ.get("GRPC_EXPERIMENTS", ""),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def description() -> str:
    """Name the processor and its cores."""
    return f"{os.cpu_count()} cores of {_processor()}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=False
    )
    return run.stdout.strip()
