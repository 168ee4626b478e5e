"""The runner of the faults: what it runs, what it writes, when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.faults import registry, report, torture
from tests.faults.odds import upper_bound
from tests.faults.outcome import Outcome
from tests.faults.registry import FAULTS, Fault
from tests.faults.report import Result

OURS = ("kill", "bad", "clashes", "stateful")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Let every fault give the outcomes of a list, one after the other."""
    outcomes: list[Outcome] = []
    monkeypatch.setattr(Fault, "load", lambda fault: lambda seconds, seed: outcomes.pop(0))
    return outcomes


@pytest.mark.parametrize(
    ("failures", "trials", "bound"),
    [(0, 1, 0.95), (0, 59, 0.0495), (0, 1_000, 0.002991), (1, 10, 0.3942), (5, 100, 0.1023)],
)
def test_the_bound_is_that_of_the_tables(failures: int, trials: int, bound: float) -> None:
    """Figures of Clopper and Pearson, one-sided, 95 %; 59 clean trials show less than 5 %."""
    assert upper_bound(failures, trials) == pytest.approx(bound, rel=2e-3)


def test_nothing_is_known_without_trials() -> None:
    assert upper_bound(0, 0) == upper_bound(3, 3) == 1.0


@pytest.mark.parametrize("name", OURS)
def test_a_listed_fault_can_be_run(name: str) -> None:
    (fault,) = registry.chosen(name)
    assert fault.is_present
    assert callable(fault.load())


def test_every_module_of_a_fault_is_listed() -> None:
    """A module with a `run` that is not in the list would never be run."""
    folder = Path(torture.__file__).parent
    offering = {
        path.stem if path.parent == folder else path.parent.name
        for path in folder.rglob("*.py")
        if not path.name.startswith("test_")
        and "\ndef run(seconds: float, seed: int" in path.read_text(encoding="utf-8")
    }
    assert offering <= {fault.name for fault in FAULTS}


def test_an_unknown_fault_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        torture.main(["--only", "earthquake"])
    assert ended.value.code == 2
    assert "no fault earthquake; there are kill" in capsys.readouterr().err


def test_a_fault_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stand_in: list[Outcome],
) -> None:
    monkeypatch.setattr(registry, "FAULTS", (Fault("kill"), Fault("nowhere")))
    stand_in.append(Outcome("kill", trials=1))
    assert torture.main(["--minutes", "0"]) == 0
    assert "NOT THERE, so NOT TESTED: nowhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome("kill -9", trials=9, acknowledged=5), 0),
        (Outcome("kill -9", trials=9, lost=1), 1),
        (Outcome("kill -9", trials=9, crashes=1), 1),
        (Outcome("kill -9", trials=0), 1),
    ],
)
def test_the_exit_status_tells_of_failures(
    stand_in: list[Outcome], outcome: Outcome, status: int
) -> None:
    """Any failure fails the run, and so does a fault of which nothing was tried."""
    stand_in.append(outcome)
    assert torture.main(["--only", "kill", "--minutes", "0"]) == status


def test_a_fault_that_breaks_fails_the_run_but_not_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(fault: Fault) -> registry.Run:
        if fault.name == "bad":
            raise RuntimeError("no such luck")
        return lambda seconds, seed: Outcome(fault.name, trials=3, control="seen")

    monkeypatch.setattr(Fault, "load", load)
    assert torture.main(["--only", "bad,kill", "--minutes", "0"]) == 1
    said = capsys.readouterr().out
    assert "NOT CARRIED OUT: RuntimeError: no such luck" in said
    assert "FAILED: bad\n" in said
    assert "kill" in said


def test_the_time_is_shared_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fault leaves unused goes to those after it."""
    given: dict[str, float] = {}
    kept: list[list[report.Result]] = []

    def load(fault: Fault) -> registry.Run:
        def take(seconds: float, seed: int) -> Outcome:
            given[fault.name] = seconds
            return Outcome(fault.name, trials=seed)

        return take

    monkeypatch.setattr(Fault, "load", load)
    torture.run_all((Fault("a", 1), Fault("b", 2), Fault("c", 1)), 400.0, 7, kept.append)
    assert given["a"] == pytest.approx(100, abs=20)
    assert given["b"] == pytest.approx(266, abs=20)
    assert given["c"] == pytest.approx(400, abs=20)
    assert len(kept) == 3, "what there is after each"


def test_the_figures_are_written(tmp_path: Path, stand_in: list[Outcome]) -> None:
    """The table goes between the marks of a page, and all figures into a file."""
    page, output = tmp_path / "page.md", tmp_path / "torture.json"
    page.write_text("before\n<!-- torture -->\nold\n<!-- torture -->\nafter\n")
    stand_in.append(
        Outcome(
            "kill -9", trials=1_234, acknowledged=5, recovery_s=(0.5, 2.0), control="a | b",
            notes="said"
        )
    )  # fmt: skip
    arguments = ["--only", "kill", "--minutes", "0", "--seed", "7"]
    assert torture.main([*arguments, "--markdown", str(page), "--output", str(output)]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- torture -->\nCommit ")
    assert text.endswith("<!-- torture -->\nafter\n")
    assert "old" not in text
    assert "seed 7" in text
    row = next(line for line in text.splitlines() if line.startswith("| kill -9"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "kill -9", "1,234", "5", "0", "0", "0", "0", "0", "0", "0.50 s / 2.00 s", "0.25%", "a / b",
    ]  # fmt: skip
    assert "- kill -9: said" in text
    written = json.loads(output.read_text())
    assert written["run"]["seed"] == 7
    assert written["machine"]["cores"] > 0
    assert written["commit"]
    assert written["faults"][0]["trials"] == 1_234
    assert not written["faults"][0]["failed"]


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="twice, got it 0 times"):
        report.into_page(page, report.table([Result("kill", 1.0, Outcome("kill", trials=1))]))
