"""The socket that apps speak to: plain msgpack-rpc, with one table of all functions and events.

`table` is where to begin. Dispatch, docs/rpc.md, the JSON Schemas, `rpc.api_info` and the tests all come from it.
"""
