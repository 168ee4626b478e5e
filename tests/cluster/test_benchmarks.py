"""The benchmark runs from end to end, small, and its report is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECTIONS = {"kernel", "serving", "curve", "latency", "ingest", "growth"}
ENGINES = ("hnswlib-partitions", "hnswlib", "fanlight")


def run(script: str, *arguments: str) -> str:
    argv = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run it once, with the engines that are always installed."""
    output = tmp_path_factory.mktemp("bench")
    given = ["--quick", "--rows", "1200", "--dim", "16", "--seconds", "0.1"]
    run("bench.py", *given, "--engines", ",".join(ENGINES), "--output", str(output))
    return output


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Any]:
    """Read what it wrote."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_every_section_is_measured(figures: dict[str, Any]) -> None:
    assert set(figures["sections"]) == SECTIONS


def test_every_engine_reaches_the_yardsticks_recall(figures: dict[str, Any]) -> None:
    records = figures["sections"]["serving"]
    assert {record["engine"] for record in records} == set(ENGINES)
    target = next(r["recall"] for r in records if r["engine"] == "hnswlib-partitions")
    assert all(record["recall"] >= target for record in records)


def test_a_run_says_where_and_how_it_was_made(figures: dict[str, Any]) -> None:
    assert figures["command"].startswith("python benchmarks/bench.py --quick")
    assert "--output" not in figures["command"]
    assert {"machine", "commit", "versions", "load_average_before"} <= figures.keys()


def test_nothing_failed(figures: dict[str, Any]) -> None:
    latency = figures["sections"]["latency"]
    assert all(record["failed"] == {} for record in [*latency["load"], *latency["ingest"]])


def test_the_report_prints_every_table_as_markdown(folder: Path) -> None:
    text = run("report.py", str(folder / "run.json"), "--markdown")
    for title in ("Goals", "Queries a second", "Loading", "by shards", "during ingest"):
        assert title in text


def test_a_document_is_filled_where_it_has_places(
    folder: Path, figures: dict[str, Any], tmp_path: Path
) -> None:
    document = tmp_path / "page.md"
    name = figures["workload"]["name"]
    places = [f"<!-- bench {name} serving -->", f"<!-- bench {name} paper -->"]
    other = "<!-- bench other serving -->\nkept\n<!-- end -->"
    text = "\n".join([*(f"{place}\ngone\n<!-- end -->" for place in places), other])
    document.write_text(text)
    for _ in range(2):
        run("report.py", str(folder / "run.json"), "--fill", str(document))
        found = document.read_text()
        assert "gone" not in found
        assert found.endswith(other)
        assert found.count("Queries a second") == 1
        assert found.count("on 1,000 shards") == 1


def test_the_paper_calculation_prints_from_a_run(folder: Path) -> None:
    text = run("paper.py", str(folder / "run.json"), "--shards", "100")
    assert "on 100 shards" in text


def test_every_plot_is_drawn(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    drawn = {path.name for path in folder.glob("*.png")}
    plots = {"recall-speed", "latency-load", "latency-ingest", "cost-shards", "cost-growth"}
    assert drawn == {f"{name}.png" for name in plots}
