"""The examples run as their pages say, on the data they are made for."""

from __future__ import annotations

import os
import re
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


@pytest.mark.slow
def test_online_retail(cluster: LocalCluster) -> None:
    """Recall of later purchases is what the data's own exact retrieval gave; the index agrees."""
    text = output("online_retail.py", folder("online_retail"), cluster.address)
    recalls = [float(found) for found in re.findall(r"recall@20 (\d\.\d+)", text)]
    exact, index, popular, exact_new, index_new, popular_new = recalls
    assert exact == pytest.approx(0.224, abs=5e-4)
    assert exact_new == pytest.approx(0.090, abs=5e-4)
    assert abs(index - exact) <= 0.005
    assert abs(index_new - exact_new) <= 0.005
    assert exact > popular
    assert exact_new > popular_new


@pytest.mark.slow
def test_debian_sections(cluster: LocalCluster) -> None:
    """Filtered recall@10 of at least 0.97, and never an item outside the filter."""
    text = output("debian_sections.py", cluster.address)
    recalls = [float(found) for found in re.findall(r"recall@10 (\d\.\d+)", text)]
    assert len(recalls) == 2
    assert min(recalls) >= 0.97
