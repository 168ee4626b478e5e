"""Options that every Fanlight channel has; those of servers are in `fanlight.wire.connections`."""

from __future__ import annotations

# The largest message either way; servers may be configured to less. It equals the default of
# `fanlight.limits.Limits.message_bytes`, which the SDK does not import.
MESSAGE_BYTES = 64 << 20

Options = list[tuple[str, int | str]]


def channel_options(message_bytes: int = MESSAGE_BYTES) -> Options:
    """Make the options of a client channel.

    A shard that comes back must be found within about a second, so the reconnection back-off
    is far below gRPC's own limit of 120 s. One try may take a second (that is what the option
    "min" sets), since a busy peer may be slow to answer it. Keepalive finds a peer whose host is gone; its
    period is within what servers permit.
    """
    return [
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.enable_http_proxy", 0),
        # Two clients in one process must not share a connection's flow control.
        ("grpc.use_local_subchannel_pool", 1),
    ]
