"""`make torture`: every fault in turn, for minutes or hours, and one table of what came of it.

    make torture ARGS="--minutes 30 --seed 7 --only kill,stateful --markdown docs/resilience.md"

Exit status: 0 when nothing happened that must not; 1 otherwise; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import datetime
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import report
from tests.faults.registry import Fault, chosen
from tests.faults.report import Result

DEFAULT_MINUTES = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the faults and report."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        faults = chosen(arguments.only)
    except ValueError as error:
        parser.error(str(error))
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    absent = [fault.name for fault in faults if not fault.is_present]
    if absent:
        print(f"NOT THERE, so NOT TESTED: {', '.join(absent)}", flush=True)
    present = [fault for fault in faults if fault.is_present]
    if not present:
        parser.error("none of these faults is there")
    print(f"seed {seed}, commit {report.commit()}, {arguments.minutes:g} minutes", flush=True)
    results = run_all(
        present, arguments.minutes * 60, seed, lambda found: _write(arguments, found, seed)
    )
    print(f"\n{report.table(results)}\n\n{report.notes(results)}\n")
    failed = [result.name for result in results if result.failed]
    print("FAILED: " + ", ".join(failed) if failed else "Nothing failed.")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make torture", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="for all of them")
    parser.add_argument("--seed", type=int, help="of the run that is to be repeated")
    parser.add_argument("--only", default="", metavar="A,B", help="only these faults")
    parser.add_argument("--markdown", type=Path, help="put the table into this page")
    parser.add_argument("--output", type=Path, help="write all figures here, as JSON")
    return parser


def run_all(
    faults: Sequence[Fault], seconds: float, seed: int, keep: Callable[[list[Result]], None]
) -> list[Result]:
    """Give each fault its share of the time; what one leaves unused goes to the next.

    Args:
        faults: in this order.
        seconds: for all of them.
        seed: of each.
        keep: is told what there is after each, so that a run that is cut short leaves it.
    """
    results: list[Result] = []
    ends = time.monotonic() + seconds
    for place, fault in enumerate(faults):
        left = sum(later.weight for later in faults[place:])
        share = max(0.0, ends - time.monotonic()) * fault.weight / left
        _say(f"{place + 1}/{len(faults)} {fault.name}: up to {share:.0f} s")
        results.append(_run(fault, share, seed))
        keep(results)
        _say(f"{place + 1}/{len(faults)} {fault.name}: {_verdict(results[-1])}")
    return results


def _run(fault: Fault, seconds: float, seed: int) -> Result:
    started = time.monotonic()
    try:
        outcome = fault.load()(seconds, seed)
    except Exception as error:
        traceback.print_exc()
        return Result(
            fault.name, time.monotonic() - started, error=f"{type(error).__name__}: {error}"
        )
    return Result(fault.name, time.monotonic() - started, outcome)


def _verdict(result: Result) -> str:
    took = f"in {result.seconds:.0f} s"
    if result.outcome is None:
        return f"NOT CARRIED OUT {took}: {result.error}"
    return f"{result.outcome.failures} failures in {result.outcome.trials:,} trials {took}"


def _write(arguments: argparse.Namespace, results: Sequence[Result], seed: int) -> None:
    if arguments.output is not None:
        run = {"seed": seed, "minutes": arguments.minutes, "only": arguments.only}
        report.write_json(arguments.output, results, run)
    if arguments.markdown is not None:
        what = report.machine()
        minutes = sum(result.seconds for result in results) / 60
        caption = (
            f"Commit {report.commit()}, seed {seed}, {minutes:.0f} minutes, {what['cores']} cores "
            f"({what['cpu']}), Python {what['python']}."
        )
        report.into_page(
            arguments.markdown, f"{caption}\n\n{report.table(results)}\n\n{report.notes(results)}"
        )


def _say(text: str) -> None:
    now = datetime.datetime.now().strftime("%H:%M:%S")
    print(f"{now} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
