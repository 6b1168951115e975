"""The foreign-peer test bench: other MLS implementations and ours, driven through one gRPC interface.

proto/      the working group's interop interface
stubs       that interface in Python, both ends, without generated code
scenario    the working group's scenario files as typed steps
roles       who plays whom
play        one scenario: its calls, and what must agree
runner      many of them, counted; also a command
launch      starts peers as child processes
js/ rust/   the foreign peers
"""
