"""What a server allows its connections.

Laws: whoever is silent, sends slowly or does not read is closed within a stated time, and holds
little until then. A program that runs out of file descriptors refuses connections; it does not end.
"""

from __future__ import annotations

import resource

from fanlight.limits import Limits
from fanlight.wire.channels import Options

# Descriptors that a program needs for itself: files of the store, segments, channels, pipes.
_OWN_DESCRIPTORS = 512


def raise_descriptor_limit() -> int:
    """Allow this process as many open files as it may have; tell how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_max(limits: Limits) -> int:
    """Tell how many connections a server takes: the limit, or what descriptors are left for."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limits.connections, descriptors - min(_OWN_DESCRIPTORS, descriptors // 2)))


def server_options(limits: Limits) -> Options:
    """Make the options of a server.

    Without so_reuseport=0 a second server on the same port starts without an error and the two
    share its calls. `message_bytes` bounds a compressed message by what it decompresses to.
    The handshake's time closes connections that say nothing at all, the idle time those that
    have no call, keepalive those whose host is gone or whose socket is never read.
    """
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_allowed_incoming_connections", connections_max(limits)),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.max_connection_age_ms", int(limits.age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(limits.age_grace_s * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
