"""The examples run as their pages say, on the data they are made for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fanlight.cli.local_cluster import LocalCluster

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("FANLIGHT_DATA", ROOT.parent / "shared" / "data"))


def output(name: str, *arguments: str) -> str:
    """Run an example and give what it prints."""
    argv = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return done.stdout


def folder(name: str) -> str:
    """Give a data set's folder; the test is skipped where the data is not."""
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not in FANLIGHT_DATA")
    return str(DATA / name)


@pytest.mark.slow
def test_glove_files(cluster: LocalCluster) -> None:
    """Three formats of the same words give the same vectors and answers."""
    text = output("glove_files.py", folder("glove_6b_50d_10k"), cluster.address)
    assert text.count("every vector as in vectors.npy") == 3
    assert "the same answers from all files: True" in text
    assert "music: songs, song, band" in text
