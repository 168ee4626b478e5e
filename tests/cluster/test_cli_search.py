"""`fanlight search` with all that a search may ask for, and `fanlight sets`; brute force judges."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanlight
from fanlight.cli import app
from fanlight.cli.local_cluster import LocalCluster

pytestmark = pytest.mark.slow

ROWS, DIM, K = 120, 8, 12
VECTORS = np.random.default_rng(seed=4).standard_normal((ROWS, DIM)).astype(np.float32)
UNITS = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERY = VECTORS[0] + 0.2
SELLERS = [f"s{row % 7}" for row in range(ROWS)]
FIELDS = {"seller": "keyword", "year": "int"}


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def things(cluster: LocalCluster) -> Iterator[fanlight.Collection]:
    """Fill "things", and "named" with the same items under strings."""
    with fanlight.Client(cluster.address) as client:
        payloads = [{"seller": seller, "year": row} for row, seller in enumerate(SELLERS)]
        collection = client.create_collection("things", dim=DIM, filterable=FIELDS)
        collection.upsert(np.arange(ROWS), VECTORS, payloads)
        named = client.create_collection("named", dim=DIM, id_type="string")
        named.upsert([str(row) for row in range(ROWS)], VECTORS)
        yield collection


@pytest.fixture
def run(
    cluster: LocalCluster,
    things: fanlight.Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Give `run(*arguments)`: the command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, answer: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["fanlight", "--address", cluster.address, *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as ended:
            app.run()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


def searched(run: Run, *arguments: str, name: str = "things") -> dict[str, Any]:
    done = run("search", name, "-k", str(K), "--exact", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ids(answer: dict[str, Any]) -> list[Any]:
    return [hit["id"] for hit in answer["hits"]]


def ranked(query: Any, without: Any = ()) -> list[int]:
    order: list[int] = np.argsort(-(UNITS @ query)).tolist()
    return [row for row in order if row not in without]


def as_json(vector: Any) -> str:
    return json.dumps(np.asarray(vector).tolist())


def test_likes_and_unlikes(run: Run) -> None:
    """They are the weighted sum of directions; a vector may stand beside; unknown ids are told."""
    answer = searched(run, "--like", "3", "--like", "5", "--like", "900", "--unlike", "7")
    assert ids(answer) == ranked(UNITS[3] + UNITS[5] - UNITS[7], (3, 5, 7))[:K]
    assert answer["missing_ids"] == [900]
    beside = searched(run, "--vector", as_json(QUERY), "--unlike", "7")
    assert ids(beside) == ranked(QUERY / np.linalg.norm(QUERY) - UNITS[7], (7,))[:K]
    named = searched(run, "--like", "3", name="named")
    assert ids(named) == [str(row) for row in ranked(UNITS[3], (3,))[:K]]
    shown = run("search", "things", "--like", "3", "--like", "900", "-k", "1")
    assert "no items, and did not count: 900" in shown.stderr


def test_exclusions_of_files_and_sets(run: Run, tmp_path: Path) -> None:
    """Text of integers and of strings, .npy, and members of sets are not found; they are counted."""
    best = ranked(QUERY)
    (tmp_path / "ids.txt").write_text("".join(f"{row}\n" for row in best[:4]))
    np.save(tmp_path / "ids.npy", np.array(best[:4]))
    assert run("sets", "append", "things", "seen", *map(str, best[4:6])).returncode == 0
    for file in ("ids.txt", "ids.npy"):
        more = ("--exclude", file, "--exclude-set", "seen", "--exclude-set", "nobody")
        answer = searched(run, "--vector", as_json(QUERY), *more)
        assert ids(answer) == best[6 : 6 + K]
        assert answer["excluded"] == 6
    named = searched(run, "--vector", as_json(QUERY), "--exclude", "ids.txt", name="named")
    assert ids(named) == [str(row) for row in best[4 : 4 + K]]


def test_rules_of_the_list(run: Run, things: fanlight.Collection) -> None:
    """Caps, novelty and near-duplicates are those of the same search by the SDK."""
    capped = searched(run, "--vector", as_json(QUERY), "--cap", "seller:1", "--with-payloads")
    first: dict[str, int] = {}
    for row in ranked(QUERY):
        first.setdefault(SELLERS[row], row)
    assert ids(capped) == list(first.values())
    assert capped["unmet"] == [f"k: 7 of {K}"]
    assert [hit["payload"]["seller"] for hit in capped["hits"]] == list(first)
    assert (
        "Not met: k: 7 of 12"
        in run("search", "things", "--id", "1", "-k", "12", "--cap", "seller:1").stderr
    )
    slate = fanlight.Slate(mmr=fanlight.Mmr(0.4), near_duplicate=0.5)
    wanted = things.search(QUERY, k=K, exact=True, slate=slate)
    novel = searched(run, "--vector", as_json(QUERY), "--mmr", "0.4", "--near-duplicate", "0.5")
    assert ids(novel) == wanted.ids[0, : wanted.counts[0]].tolist() != ranked(QUERY)[:K]


def test_thresholds_and_filters(run: Run) -> None:
    scores = UNITS @ (QUERY / np.linalg.norm(QUERY))
    more = ("--threshold", "0.3", "--filter", '{"year": {"lt": 60}}')
    answer = searched(run, "--vector", as_json(QUERY), *more)
    assert ids(answer) == [row for row in ranked(QUERY) if row < 60 and scores[row] >= 0.3][:K]


def test_explanations(run: Run) -> None:
    """Rank, place and rules of an item that is found, one that is not, and one that is not there."""
    best = ranked(QUERY)
    query = ("search", "things", "-k", "5", "--exact", "--vector", as_json(QUERY))
    found = json.loads(run(*query, "--explain", str(best[2]), "--json").stdout)
    assert (found["found"], found["place"], found["rank"]) == (True, 2, 3)
    rules = ("--filter", '{"seller": "s9"}', "--cap", "seller:2")
    shown = run(*query, *rules, "--explain", str(best[40]))
    assert shown.returncode == 0, shown.stderr
    assert f"Item {best[40]}: not found" in shown.stdout
    assert "rank of all items                41" in shown.stdout
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith("filter"))
    assert line.split() == ["filter:", "seller", "==", '"s9"', "no"]
    assert "hit 3" in run(*query, "--explain", str(best[2])).stdout
    absent = json.loads(run(*query, "--explain", "900", "--json").stdout)
    assert (absent["exists"], absent["rank"], absent["id"]) == (False, None, 900)
    assert "There is no item 900" in run(*query, "--explain", "900").stdout


def test_sets(run: Run, things: fanlight.Collection, tmp_path: Path) -> None:
    """Every call of the SDK is a command; what `get` prints, `--from` takes."""
    assert run("sets", "append", "things", "a", "5", "3").stdout == "a: 2 members.\n"
    done = run("sets", "append", "things", "a", "9", "--ttl", "3600", "--json")
    assert json.loads(done.stdout) == {"name": "a", "members": 3}
    printed = run("sets", "get", "things", "a").stdout
    assert printed == "3\n5\n9\n"
    (tmp_path / "a.txt").write_text(printed)
    assert run("sets", "append", "things", "b", "7", "--from", "a.txt").returncode == 0
    assert json.loads(run("sets", "get", "things", "b", "--json").stdout)["ids"] == [3, 5, 7, 9]
    assert run("sets", "remove", "things", "b", "--from", "a.txt").stdout == "b: 1 member.\n"
    assert run("sets", "expire", "things", "b", "--ttl", "3600").stdout == "b: 1 member.\n"
    assert run("sets", "count", "things", "b").stdout == "b: 1 member.\n"
    declined = run("sets", "delete", "things", "a", answer="n\n")
    assert declined.returncode == 1
    assert "Delete a and its 3 members?" in declined.stderr
    assert things.sets.count("a") == 3
    deleted = run("sets", "delete", "things", "a", "--yes", "--json")
    assert json.loads(deleted.stdout) == {"name": "a", "deleted": 3}
    assert run("sets", "get", "things", "a").stdout == ""
    assert run("sets", "append", "named", "a", "x y", "7").stdout == "a: 2 members.\n"
    assert run("sets", "get", "named", "a").stdout == "7\nx y\n"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("search", "things", "--id", "1", "--like", "2"), 2, "exactly one of"),
        (("search", "things", "--id", "1", "--unlike", "2"), 2, "--unlike goes with"),
        (("search", "things", "--unlike", "2"), 2, "exactly one of"),
        (("search", "things", "--id", "1", "--cap", "seller"), 2, "'--cap': expected FIELD:N"),
        (("search", "things", "--id", "1", "--cap", "seller:0"), 2, "'--cap': expected FIELD:N"),
        (("search", "things", "--id", "1", "--mmr", "2"), 2, "'--mmr'"),
        (("search", "things", "--id", "1", "--near-duplicate", "2"), 2, "'--near-duplicate'"),
        (("search", "things", "--like", "x"), 1, "like: expected an integer"),
        (("search", "things", "--id", "1", "--explain", "x"), 1, "explain: expected an integer"),
        (("search", "things", "--id", "1", "--exclude", "bad.txt"), 1, "exclude: expected an int"),
        (("search", "things", "--id", "1", "--exclude", "bad.npy"), 1, "exclude: expected a .npy"),
        (("search", "things", "--id", "1", "--exclude", "no.txt"), 2, "'--exclude'"),
        (("search", "things", "--id", "1", "--filter", "["), 1, "filter: expected a JSON object"),
        (("sets", "append", "things", "a"), 1, "ids: expected some, as arguments or with --from"),
        (("sets", "append", "things", "a", "--from", "bad.txt"), 1, "from: expected an integer"),
        (("sets", "append", "things", "a", "1", "--ttl", "0"), 1, "ttl: expected above 0"),
        (("sets", "expire", "things", "a"), 2, "'--ttl'"),
        (("sets", "count", "things", ""), 1, "name: expected 1 to 256 bytes"),
        (("sets", "append", "nowhere", "a", "1"), 1, "nowhere"),
    ],
)
def test_wrong_uses_are_named(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], status: int, text: str
) -> None:
    """A wrong use shows the usage, a wrong value is one line; both name the option."""
    (tmp_path / "bad.txt").write_text("7\nseven\n")
    (tmp_path / "bad.npy").write_text("7\n")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert status == 2 or len(done.stderr.splitlines()) == 1
