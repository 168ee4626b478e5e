"""The one table between errors and the wire."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from fanlight import errors
from fanlight.errors import FanlightError, PartialResult, RowError
from fanlight.model import Coverage, ShardFailure
from fanlight.v1 import types_pb2 as pb
from fanlight.wire.status import (
    ERROR_KEY,
    code_of,
    from_coverage,
    from_error,
    from_row_errors,
    from_rpc_error,
    status_of,
    to_coverage,
    to_error,
    to_row_errors,
)

CLASSES = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and cls is not FanlightError
]
CLASSES = [cls for cls in CLASSES if issubclass(cls, FanlightError)]
PLAIN = [cls for cls in CLASSES if cls is not PartialResult]


def failed(code: grpc.StatusCode, *trailing: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    """Make a failed call as the client library raises it."""
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details="told")


@pytest.mark.parametrize("cls", PLAIN)
def test_an_error_survives_the_wire(cls: type[FanlightError]) -> None:
    """Every class comes back as itself, with every field."""
    sent = cls("m", field="k", expected="1", got="2", retry_after_s=0.5)
    got = from_error(pb.Error.FromString(to_error(sent).SerializeToString()))
    assert type(got) is cls
    assert vars(got) == vars(sent)


def test_each_class_has_a_code_of_its_own() -> None:
    """No two classes share a code, but for a partial answer, which is a kind of not ready."""
    codes = {code_of(cls("m")) for cls in PLAIN}
    assert len(codes) == len(PLAIN)
    assert code_of(PartialResult("m")) == code_of(errors.NotReady("m"))


def test_codes_have_the_numbers_of_grpc() -> None:
    """The codes of the contract are gRPC's, by name and by number."""
    for name, number in pb.Code.items():
        if number:
            assert getattr(grpc.StatusCode, name.removeprefix("CODE_")).value[0] == number
    assert status_of(errors.NotFound("m")) is grpc.StatusCode.NOT_FOUND


def test_a_foreign_error_tells_nothing() -> None:
    """What is not Fanlight's own goes as INTERNAL, without its text."""
    message = to_error(KeyError("/secret/path"))
    assert message.code == pb.CODE_INTERNAL
    assert "secret" not in str(message)


def test_coverage_survives_the_wire() -> None:
    """Coverage comes back with its failures; an unknown total stays unknown."""
    failures = (
        ShardFailure("shard-1", errors.NotReady("refused")),
        ShardFailure("shard-2", errors.Corruption("bad checksum")),
    )
    for total in (None, 0, 12):
        got = from_coverage(to_coverage(Coverage(3, 1, total, 4, failures)))
        assert (got.shards_total, got.shards_answered) == (3, 1)
        assert (got.items_total, got.items_covered) == (total, 4)
        for before, after in zip(failures, got.failures, strict=True):
            assert after.shard == before.shard
            assert type(after.error) is type(before.error)
            assert str(after.error) == str(before.error)


def test_a_partial_result_survives_the_wire() -> None:
    """A refusal for too few shards comes back with what was reached."""
    coverage = Coverage(3, 1, None, 4, (ShardFailure("shard-0", errors.NotReady("x")),))
    got = from_error(to_error(PartialResult("too few", coverage=coverage)))
    assert isinstance(got, PartialResult)
    assert got.coverage is not None
    assert got.coverage.failures[0].shard == "shard-0"


def test_row_errors_survive_the_wire() -> None:
    """Errors of rows keep their rows, their order and their classes."""
    rows = (RowError(1, errors.InvalidRequest("a")), RowError(5, errors.NotFound("b")))
    got = from_row_errors(to_row_errors(rows))
    assert [(r.row, type(r.error), str(r.error)) for r in got] == [
        (1, errors.InvalidRequest, "a"),
        (5, errors.NotFound, "b"),
    ]


def test_the_detail_of_a_failed_call_wins() -> None:
    """A detail in the trailing metadata decides, whatever the status says."""
    detail = to_error(errors.Corruption("bad")).SerializeToString()
    got = from_rpc_error(failed(grpc.StatusCode.UNKNOWN, (ERROR_KEY, detail)))
    assert type(got) is errors.Corruption


@pytest.mark.parametrize("trailing", [(), ((ERROR_KEY, b"\xff"),), (("other-bin", b"x"),)])
def test_without_a_detail_the_status_decides(trailing: tuple[tuple[str, bytes], ...]) -> None:
    """A call that gRPC itself refused, or a foreign peer, is read by its status code."""
    got = from_rpc_error(failed(grpc.StatusCode.UNAVAILABLE, *trailing))
    assert type(got) is errors.NotReady
    assert "told" in str(got)
    unknown = from_rpc_error(failed(grpc.StatusCode.OUT_OF_RANGE, *trailing))
    assert type(unknown) is errors.InternalError


@pytest.mark.parametrize("cls", CLASSES)
def test_the_documentation_has_each_class_with_its_code(cls: type[FanlightError]) -> None:
    """docs/errors.md has a row for each class, with the code that the table gives it."""
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(f"| `{cls.__name__}`")]
    assert len(rows) == 1
    assert f"`{status_of(cls('m')).name}`" in rows[0]
