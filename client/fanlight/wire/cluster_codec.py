"""The codec of the cluster's status: `fanlight.cluster` to protobuf messages and back.

Every `from_x` undoes its `to_x`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.errors import InvalidRequest
from fanlight.placement import ShardIdentity
from fanlight.v1 import cluster_pb2 as pb
from fanlight.wire.codec import from_info, to_info
from fanlight.wire.status import from_error, to_error

_STATES = {
    ShardState.SERVING: pb.SHARD_STATE_SERVING,
    ShardState.READ_ONLY: pb.SHARD_STATE_READ_ONLY,
    ShardState.NOT_SERVING: pb.SHARD_STATE_NOT_SERVING,
    ShardState.UNREACHABLE: pb.SHARD_STATE_UNREACHABLE,
    ShardState.MISMATCHED: pb.SHARD_STATE_MISMATCHED,
}
_STATE_OF = {code: state for state, code in _STATES.items()}


def to_identity(identity: ShardIdentity) -> pb.ShardIdentity:
    """Put a shard's identity on the wire."""
    return pb.ShardIdentity(cluster=identity.cluster, index=identity.index, count=identity.count)


def from_identity(message: pb.ShardIdentity) -> ShardIdentity:
    """Read a shard's identity off the wire."""
    return ShardIdentity(cluster=message.cluster, index=message.index, count=message.count)


def to_shard_status(status: ShardStatus) -> pb.ShardStatus:
    """Put a shard's status on the wire."""
    return pb.ShardStatus(
        identity=to_identity(status.identity),
        address=status.address,
        state=_STATES[status.state],
        error=None if status.error is None else to_error(status.error),
        collections=[to_info(info) for info in status.collections],
        version=status.version,
        data_id=status.data_id,
        peers=_to_data(status.peers),
    )


def from_shard_status(message: pb.ShardStatus) -> ShardStatus:
    """Read a shard's status off the wire; a state that this version does not know is no service."""
    return ShardStatus(
        identity=from_identity(message.identity),
        address=message.address,
        state=_STATE_OF.get(message.state, ShardState.NOT_SERVING),
        error=from_error(message.error) if message.HasField("error") else None,
        collections=tuple(from_info(info) for info in message.collections),
        version=message.version,
        data_id=message.data_id,
        peers={shard.index: shard.data_id for shard in message.peers},
    )


def to_cluster_status(status: ClusterStatus) -> pb.GetStatusResponse:
    """Put a cluster's status on the wire."""
    return pb.GetStatusResponse(
        cluster=status.cluster,
        shards=[to_shard_status(shard) for shard in status.shards],
        version=status.version,
    )


def from_cluster_status(message: pb.GetStatusResponse) -> ClusterStatus:
    """Read a cluster's status off the wire."""
    return ClusterStatus(
        cluster=message.cluster,
        shards=tuple(from_shard_status(shard) for shard in message.shards),
        version=message.version,
    )


def to_accept_data(data: Mapping[int, str], *, replace: bool) -> pb.AcceptDataRequest:
    """Put the data of shards on the wire."""
    return pb.AcceptDataRequest(shards=_to_data(data), replace=replace)


def from_accept_data(message: pb.AcceptDataRequest) -> dict[int, str]:
    """Read the data of shards off the wire, as ids by index.

    Raises:
        InvalidRequest: a shard comes twice.
    """
    data = {shard.index: shard.data_id for shard in message.shards}
    if len(data) < len(message.shards):
        raise InvalidRequest.of_field("shards.index", "each shard once", "one that comes twice")
    return data


def _to_data(data: Mapping[int, str]) -> Iterable[pb.ShardData]:
    return [pb.ShardData(index=index, data_id=data_id) for index, data_id in sorted(data.items())]
