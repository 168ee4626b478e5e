"""Who may do what: the policy of every RPC, callers, API keys, and files of TLS.

Nothing here knows gRPC; `fanlight.wire.security` and `fanlight.wire.dialing` put it to use.
"""
