"""The interop interface without generated code: what is read from the file, and both ends of a call."""

from __future__ import annotations

import threading

import pytest

from tests.peers import stubs
from tests.peers.stubs import Client, Message, RpcError


class Clerk:
    """Serves a few rpcs in the ways a handler may."""

    def __init__(self) -> None:
        self.held = threading.Event()

    def name(self, _request: Message) -> dict[str, object]:
        return {"name": "clerk"}

    def commit(self, request: Message) -> dict[str, object]:
        asked = [bytes(wanted.proposal_type) for wanted in request.by_value]
        return {"commit": b" ".join(asked), "welcome": request.by_value[0].extensions[0].extension_data}

    def store_psk(self, _request: Message) -> None:
        return None

    def resumption_psk_proposal(self, request: Message) -> Message:
        answer: Message = stubs.interface().messages["ProposalResponse"](proposal=str(request.epoch_id).encode())
        return answer

    def free(self, request: Message) -> dict[str, object]:
        raise KeyError(request.state_id)

    def export(self, request: Message) -> dict[str, object]:
        raise OverflowError(request.label)

    def protect(self, _request: Message) -> dict[str, object]:
        raise RuntimeError("out of ink")

    def create_branch(self, _request: Message) -> dict[str, object]:
        raise NotImplementedError

    def unprotect(self, _request: Message) -> dict[str, object]:
        self.held.wait(10)
        return {}


def test_all_34_rpcs_are_read_and_have_a_method_each() -> None:
    interface = stubs.interface()
    assert interface.service == "mls_client.MLSClient"
    assert len(interface.rpcs) == 34
    assert len({rpc.method for rpc in interface.rpcs.values()}) == 34
    assert interface.rpcs["HandlePendingReInitCommit"].method == "handle_pending_reinit_commit"
    assert interface.rpcs["ExternalPSKProposal"].method == "external_psk_proposal"


def test_fields_cross_the_wire() -> None:
    extension = {"extension_type": 0xFFFF, "extension_data": b"\x00\xff"}
    first = {"proposal_type": b"groupContextExtensions", "extensions": [extension]}
    with stubs.serve(Clerk()) as server, Client(f"127.0.0.1:{server.port}", deadline=10) as client:
        assert client.call("Name").name == "clerk"
        answer = client.call("Commit", by_value=[first, {"proposal_type": b"add"}])
        assert (answer.commit, answer.welcome) == (b"groupContextExtensions add", b"\x00\xff")
        assert answer.ratchet_tree == b""
        assert client.call("ResumptionPSKProposal", epoch_id=2**63).proposal == str(2**63).encode()
        client.call("StorePSK", psk_id=b"x")


@pytest.mark.parametrize(
    ("rpc", "fields", "code", "why"),
    [
        ("Free", {"state_id": 7}, "NOT_FOUND", "KeyError: 7"),
        ("Protect", {}, "INTERNAL", "RuntimeError: out of ink"),
        ("CreateBranch", {}, "UNIMPLEMENTED", ""),
        ("HandleBranch", {}, "UNIMPLEMENTED", ""),
        ("Export", {"label": "too much"}, "FAILED_PRECONDITION", "OverflowError: too much"),
    ],
)
def test_what_a_method_raises_becomes_a_status(rpc: str, fields: dict[str, object], code: str, why: str) -> None:
    codes: dict[type[Exception], str] = {OverflowError: "FAILED_PRECONDITION"}
    with (
        stubs.serve(Clerk(), codes=codes) as server,
        Client(f"127.0.0.1:{server.port}", deadline=10) as client,
    ):
        with pytest.raises(RpcError) as caught:
            client.call(rpc, **fields)
    assert caught.value.code == code
    assert why in caught.value.why
    assert caught.value.unimplemented == (code == "UNIMPLEMENTED")


def test_a_peer_that_does_not_answer_is_not_waited_for() -> None:
    clerk = Clerk()
    with stubs.serve(clerk) as server, Client(f"127.0.0.1:{server.port}", deadline=0.2) as client:
        with pytest.raises(RpcError) as caught:
            client.call("Unprotect")
        clerk.held.set()
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_a_method_that_serves_nothing_is_refused() -> None:
    class Misspelt:
        def handle_comit(self, request: Message) -> None: ...

    with pytest.raises(ValueError, match="handle_comit"):
        stubs.serve(Misspelt())


@pytest.mark.parametrize(
    "text",
    [
        'syntax = "proto3"; package p; enum E { A = 0; }',
        'syntax = "proto3"; package p; message M { optional bytes x = 1; }',
        'syntax = "proto3"; package p; message M { bytes x = 1 }',
        'syntax = "proto3"; package p; message M {} service S { rpc A(stream M) returns (M) {} }',
    ],
)
def test_what_the_reader_does_not_know_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="subset"):
        stubs.read_proto(text)
