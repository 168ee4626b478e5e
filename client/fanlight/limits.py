"""The limits of a server, each with its reason. All can be configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from fanlight.filters import DEPTH_MAX
from fanlight.queries import EXCLUDE_IDS_MOST

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server accepts at the most; past a limit the error names it.

    Attributes:
        k: hits of one query. Retrieval feeds rankers with up to some thousands of candidates.
        ef_search: candidates of one graph walk; its time grows with it.
        hits: queries x k of one request, so that an answer fits a message.
        batch_rows: rows of one write, read or search request.
        message_bytes: one gRPC message, either way. gRPC's own default of 4 MiB is less than
            1,500 vectors of 768 dimensions.
        dim: elements of a vector; the largest public embedding models give 4,096 to 12,288.
        id_bytes: UTF-8 bytes of a string id.
        payload_bytes: UTF-8 bytes of one payload.
        collections: collections of a cluster; each costs a thread and a database a shard.
        fields: filterable fields of a collection; each costs memory and time for every item.
        filter_depth: filters inside each other; people write three or four.
        filter_clauses: conditions on fields in one filter; each costs a look at every segment.
        filter_values: values in all of them together, so that a filter is small beside the
            vectors of its queries.
        examples: ids and vectors of one query by examples, all its interests together; each id is
            read before the search, and left out of the hits after it.
        interests: of one query; each is a search of its own.
        exclude_ids: ids that one search may exclude; each shard looks up those that it may hold.
        exclude_sets: sets that one search may exclude.
        set_ids: members of one set, which is held in memory while it is used.
        slate_rules: caps, and floors, of one search; each is looked at for every place.
        slate_rounds: times that shards are asked for more before a rule counts as unmet.
        facet_values: distinct values of a field that can be counted; they travel to the router.
        in_flight: requests worked on at once; the next ones are refused at once, since
            queueing them would only make all of them late.
        queue_s: seconds of work that may wait on a shard server; searches that would wait longer
            are refused at once. A fifth of what the SDK allows a search by default, so that
            what is let in is in time, and short enough for the queue to be gone within
            a few seconds of an overload's end.
        bytes_in_flight: bytes of requests that were received and are not answered, and as much
            again of answers that are made or not yet read by their callers. Eight of the largest
            messages, so that a few callers who ask for millions of hits cannot fill the memory.
        connections: connections at once; more are closed as they come. Each costs a file
            descriptor and about 20 KiB. Less where the system allows fewer descriptors.
        streams: calls at once on one connection (HTTP/2 streams); more wait at the client.
        metadata_bytes: metadata of one call. Ours is a key of some hundred bytes at the most.
        handshake_s: seconds that a new connection may take to say that it speaks HTTP/2.
        idle_s: seconds that a connection without a call is kept. A client that is closed
            so connects again with its next call.
        receive_s: seconds that a request may take to arrive: 64 MiB need 54 s at 10 Mbit/s.
        age_s: seconds after which a connection is asked to be made anew, give or take a tenth; its
            calls then have `age_grace_s` to end, and it is closed. What bounds a caller who never
            reads an answer, and spreads clients over new routers.
        age_grace_s: more than the 10 minutes after which Fanlight's own streams are renewed.
        exports: exports under way at once on a shard; each has a connection of its own.
        export_s: seconds that an export may take, whatever its caller allows: while it lasts,
            the log of writes since it began cannot be cut, and grows.
    """

    k: Annotated[int, Interval(ge=1, le=100_000)] = 10_000
    ef_search: Annotated[int, Interval(ge=1, le=100_000)] = 10_000
    hits: Annotated[int, Interval(ge=1, le=4_000_000)] = 2_000_000
    batch_rows: Annotated[int, Interval(ge=1, le=1_000_000)] = 65_536
    message_bytes: Annotated[int, Interval(ge=65_536, le=1 << 30)] = 64 * MIB
    dim: Annotated[int, Interval(ge=1, le=65_536)] = 16_384
    id_bytes: Annotated[int, Interval(ge=1, le=4_096)] = 512
    payload_bytes: Annotated[int, Interval(ge=2, le=16 * MIB)] = 64 * 1024
    collections: Annotated[int, Interval(ge=1, le=10_000)] = 64
    fields: Annotated[int, Interval(ge=0, le=1_024)] = 64
    filter_depth: Annotated[int, Interval(ge=1, le=DEPTH_MAX)] = 16
    filter_clauses: Annotated[int, Interval(ge=1, le=10_000)] = 128
    filter_values: Annotated[int, Interval(ge=1, le=1_000_000)] = 10_000
    examples: Annotated[int, Interval(ge=1, le=10_000)] = 1_024
    interests: Annotated[int, Interval(ge=1, le=1_024)] = 64
    exclude_ids: Annotated[int, Interval(ge=0, le=EXCLUDE_IDS_MOST)] = 1_000_000
    exclude_sets: Annotated[int, Interval(ge=0, le=1_024)] = 16
    set_ids: Annotated[int, Interval(ge=1, le=10_000_000)] = 1_000_000
    slate_rules: Annotated[int, Interval(ge=0, le=1_024)] = 16
    slate_rounds: Annotated[int, Interval(ge=1, le=1_024)] = 32
    facet_values: Annotated[int, Interval(ge=1, le=10_000_000)] = 100_000
    in_flight: Annotated[int, Interval(ge=1, le=100_000)] = 1_024
    queue_s: Annotated[float, Interval(ge=0.001, le=3_600)] = 1.0
    connections: Annotated[int, Interval(ge=1, le=1_000_000)] = 16_384
    streams: Annotated[int, Interval(ge=1, le=1_000_000)] = 1_024
    metadata_bytes: Annotated[int, Interval(ge=1_024, le=1 << 20)] = 16_384
    handshake_s: Annotated[float, Interval(ge=0.1, le=3_600)] = 10.0
    idle_s: Annotated[float, Interval(ge=0.1, le=86_400)] = 300.0
    receive_s: Annotated[float, Interval(ge=0.1, le=86_400)] = 60.0
    age_s: Annotated[float, Interval(ge=0.1, le=864_000)] = 3_600.0
    age_grace_s: Annotated[float, Interval(ge=0, le=86_400)] = 1_200.0
    bytes_in_flight: Annotated[int, Interval(ge=65_536, le=1 << 40)] = 512 * MIB
    exports: Annotated[int, Interval(ge=1, le=64)] = 4
    export_s: Annotated[float, Interval(gt=0, le=604_800)] = 3_600.0
