"""mls-extensions §6.3: leaving by oneself, carried out by members and by who joins from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front, snapshot as store
from mls.codec import Reader
from mls.errors import (
    CallerError,
    FutureEpochError,
    MissingProposalsError,
    MlsError,
    OwnMessageError,
    PastEpochError,
    PeerError,
    WrongGroupError,
)
from mls.framing import PublicMessage, Sender, encode_message, read_wire_format
from mls.group import CommitMessage, ProposalMessage
from mls.leaf_node import RequiredCapabilities, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add, ExternalSender, Proposal, Remove, SelfRemove, external_senders_extension
from mls.registries import ContentType, LeafIndex, ProposalRef, SenderType, WireFormat
from mls.state import Ended, Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Proposed
from tests.mls.clients import DEFAULT, PUBLIC, Party, client, party, removed, snapshot
from tests.mls.frankenstein import (
    Raw,
    as_private,
    as_public,
    authenticated,
    external_init,
    flipped,
    forge_commit,
    own_update,
    proposed,
)
from tests.mls.refusals import A, B, C, D, accepts, refused, refuses
from tests.validation import breaks

ABLE = default_capabilities(proposals=(10,))
PLAIN = default_capabilities()
WISH = SelfRemove()


def leavers(count: int, seed: object = "leaving") -> Party:
    return party(count, capabilities=ABLE, seed=seed)


def wish(ours: Party, by: str) -> bytes:
    """A SelfRemove that nobody has heard yet."""
    ours.groups[by], message, _ = front.propose(ours[by], ours.env, WISH)
    return message


def enter(ours: Party, name: str, *wishes: bytes, **options: object) -> front.ExternallyJoined:
    """An external commit by somebody new, not delivered."""
    info = front.group_info(ours.any, with_tree=True)
    someone = ours.clients.get(name) or client(name, capabilities=ABLE)
    return someone.join_externally(ours.env, info, self_removes=wishes, **options)


@pytest.mark.parametrize("parameters", [DEFAULT, PUBLIC])
def test_leaving(parameters: Parameters) -> None:
    """A member asks in the open, another one commits it, and who asked is out, knows it, and holds nothing more."""
    ours = party(4, capabilities=ABLE, parameters=parameters, shape="full")
    message = ours.propose(C, WISH)
    assert front.peek(message).wire_format == WireFormat.PUBLIC_MESSAGE
    with pytest.raises(CallerError, match="proposals are waiting"):
        front.seal(ours[A], ours.env, b"too early")
    gone = ours.leaf(C)
    sent = ours.commit(A)
    assert removed(ours[C])
    assert sent.path_secrets  # a path is needed
    assert sent.group.public.tree.leaf(gone) is None
    ours.say(B, b"without it")
    event = front.receive(leavers(2)[B], ours.env, front.commit(leavers(2)[A], ours.env).message)
    assert isinstance(event, CommitMessage)
    assert event.plan.self_removed == ()


def test_what_the_plan_says() -> None:
    ours = leavers(4)
    ours.propose(C, WISH)
    ours.propose(B, Remove(ours.leaf(D)))
    sent = front.commit(ours[A], ours.env)
    event = front.receive(ours[B], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.self_removed == (ours.leaf(C),)
    assert set(event.plan.removed) == {ours.leaf(C), ours.leaf(D)}


@breaks("EXT-6.3-1")
def test_a_wish_of_somebody_else() -> None:
    """By value it is the committer's own, and by reference only who sent it leaves."""
    ours = leavers(3)
    refused("EXT-6.3-1", lambda: front.commit(ours[A], ours.env, proposals=[WISH]))
    bad = forge_commit(ours[B], ours.env, ours.clients[B], [Proposed(WISH, Sender(1, 2))], listed=[WISH])
    good = forge_commit(ours[B], ours.env, ours.clients[B])
    refuses("EXT-6.3-1", ours, A, bad.message, good.message)


@breaks("VAL-12.2-12")
def test_a_wish_by_value_from_outside() -> None:
    ours = leavers(3)
    first, init = external_init(ours[B], ours.env)
    someone = client("stranger", capabilities=ABLE)
    bad = forge_commit(ours[B], ours.env, someone, [first, Raw(b"", type=10)], external=init)
    good = forge_commit(ours[B], ours.env, someone, [first], external=init)
    refuses("VAL-12.2-12", ours, A, bad.message, good.message)


@breaks("EXT-6.3-2")
def test_a_wish_that_was_sent_encrypted() -> None:
    """Those who join could not read it."""
    ours = leavers(2)
    with pytest.raises(CallerError, match="those outside"):
        front.propose(ours[B], ours.env, WISH, encrypt=True)
    public = authenticated(ours[B], ContentType.PROPOSAL, WISH, wire_format=WireFormat.PUBLIC_MESSAGE)
    refuses("EXT-6.3-2", ours, A, proposed(ours[B], ours.env, WISH), as_public(ours[B], public))


def test_bytes() -> None:
    """§6.3: an empty struct of type 0x000a."""
    assert (WISH.type, WISH.encode_body()) == (0x000A, b"")


@breaks("VAL-12.2-10")
def test_where_not_everybody_supports_it() -> None:
    """Nobody asks; asked all the same, members of ours do not commit it, and refuse who does."""
    ours = leavers(3)
    plain = client("plain", capabilities=PLAIN)
    ours.commit(A, joining=[(plain, plain.package(ours.env))])
    with pytest.raises(CallerError, match="does not support"):
        front.propose(ours[C], ours.env, WISH)
    content = authenticated(ours[C], ContentType.PROPOSAL, WISH, wire_format=WireFormat.PUBLIC_MESSAGE)
    message = as_public(ours[C], content)
    for name in (A, B):
        accepts(ours, name, message)
    item = next(iter(ours[B].proposals.values()))
    bad = forge_commit(ours[B], ours.env, ours.clients[B], [item])
    sent = front.commit(ours[A], ours.env)
    assert sent.group.public.tree.leaf(ours.leaf(C)) is not None
    refuses("VAL-12.2-10", ours, A, bad.message)
    # With the one who does not support it gone in the same commit, it is right.
    good = front.commit(ours[A], ours.env, proposals=[Remove(ours.leaf("plain"))])
    event = front.receive(ours[B], ours.env, good.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.self_removed == (ours.leaf(C),)


def test_a_group_can_require_it() -> None:
    required = RequiredCapabilities((), (10,), ()).extension()
    ours = party(2, capabilities=ABLE, extensions=(required,))
    plain = client("plain", capabilities=PLAIN)
    package = plain.package(ours.env).key_package
    refused("VAL-7.3-3", lambda: front.commit(ours[A], ours.env, proposals=[Add(package)]))


@breaks("VAL-12.2-3")
def test_once_in_an_epoch() -> None:
    """A second time we do not ask; from others it is heard, and only one of the two is carried out."""
    ours = leavers(3)
    ours.propose(C, WISH)
    with pytest.raises(CallerError, match="already"):
        front.propose(ours[C], ours.env, WISH)
    content = authenticated(
        ours[C], ContentType.PROPOSAL, WISH, wire_format=WireFormat.PUBLIC_MESSAGE, data=b"once more"
    )
    again = as_public(ours[C], content)
    for name in (A, B):
        accepts(ours, name, again)
    assert len(ours[A].proposals) == 2
    both = list(ours[B].proposals.values())
    refuses("VAL-12.2-3", ours, A, forge_commit(ours[B], ours.env, ours.clients[B], both).message)
    references = list(ours[A].proposals)
    refused("VAL-12.2-3", lambda: front.commit(ours[A], ours.env, references=references))
    ours.commit(A)
    assert removed(ours[C])


@breaks("VAL-12.2-2")
def test_nobody_commits_the_own_wish() -> None:
    """§12.2 says it of a Remove; who wants to go can still commit everything else, and then asks again."""
    ours = leavers(3)
    ours.propose(A, WISH)
    ours.propose(B, WISH)
    own = next(reference for reference, item in ours[A].proposals.items() if item.sender.index == ours.leaf(A))
    refused("VAL-12.2-2", lambda: front.commit(ours[A], ours.env, references=[own]))
    item = next(each for each in ours[B].proposals.values() if each.sender.index == ours.leaf(B))
    refuses("VAL-12.2-2", ours, C, forge_commit(ours[B], ours.env, ours.clients[B], [item]).message)
    ours.commit(A)
    assert removed(ours[B])
    assert not removed(ours[A])
    ours.propose(A, WISH)
    ours.commit(C)
    assert removed(ours[A])
    assert ours.names == [C]


def test_everybody_leaves_but_one() -> None:
    ours = leavers(5)
    for name in (B, C, D, "member04"):
        ours.propose(name, WISH)
    ours.commit(A)
    assert ours.names == [A]
    ours.commit(A)


# One leaf, several wishes


@breaks("VAL-12.2-3")
@pytest.mark.parametrize("order", ["remove first", "wish first"])
@pytest.mark.parametrize("how", ["reference", "value"])
def test_a_wish_and_a_removal_of_one_leaf(order: str, how: str) -> None:
    """Beside a SelfRemove, the Remove is what is wrong."""
    ours = leavers(3)
    if how == "value":
        ours.propose(C, WISH)
        items: list[Proposal | Proposed] = [Remove(ours.leaf(C)), next(iter(ours[B].proposals.values()))]
        if order == "wish first":
            items.reverse()
        refuses("VAL-12.2-3", ours, A, forge_commit(ours[B], ours.env, ours.clients[B], items).message)
        ours.commit(A, proposals=[Remove(ours.leaf(C))])
        assert removed(ours[C])
        return
    for by, proposal in ((B, Remove(ours.leaf(C))), (C, WISH))[:: 1 if order == "remove first" else -1]:
        ours.propose(by, proposal)
    waiting = list(ours[B].proposals.values())
    refuses("VAL-12.2-3", ours, A, forge_commit(ours[B], ours.env, ours.clients[B], waiting).message)
    refused("VAL-12.2-3", lambda: front.commit(ours[A], ours.env, references=list(ours[A].proposals)))
    sent = front.commit(ours[A], ours.env)
    event = front.receive(ours[B], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.self_removed == event.plan.removed == (ours.leaf(C),)


@breaks("VAL-12.2-3")
@pytest.mark.parametrize("order", [1, -1])
def test_a_wish_and_an_update_of_one_leaf(order: int) -> None:
    ours = leavers(3)
    for step in ("wish", "update")[::order]:
        if step == "wish":
            ours.propose(C, WISH)
        else:
            ours.propose_update(C)
    waiting = list(ours[B].proposals.values())
    refuses("VAL-12.2-3", ours, A, forge_commit(ours[B], ours.env, ours.clients[B], waiting).message)
    ours.commit(A)
    assert removed(ours[C])


def test_a_wish_an_update_and_a_removal_of_one_leaf() -> None:
    ours = leavers(4)
    ours.propose_update(C)
    ours.propose(B, Remove(ours.leaf(C)))
    ours.propose(C, WISH)
    ours.propose(D, Remove(ours.leaf(C)))
    ours.propose(A, Remove(ours.leaf(D)))
    sent = front.commit(ours[A], ours.env)
    event = front.receive(ours[B], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert (event.plan.self_removed, event.plan.updated) == ((ours.leaf(C),), {})
    assert set(event.plan.removed) == {ours.leaf(C), ours.leaf(D)}


def test_somebody_leaves_and_comes_back_in_one_commit() -> None:
    """The leaf of a client that goes makes room for the same client."""
    ours = leavers(3)
    again = ours.clients[C]
    package = again.package(ours.env)
    ours.propose(C, WISH)
    sent = ours.commit(A, proposals=[Add(package.key_package)])
    assert removed(ours[C])
    ours.welcome(again, package, sent)
    ours.agree()


def test_a_wish_does_not_outlive_its_epoch() -> None:
    ours = leavers(3)
    old = wish(ours, C)
    ours.commit(A)
    with pytest.raises(PastEpochError):
        front.receive(ours[B], ours.env, old)
    assert not ours[C].proposals
    ours.propose(C, WISH)  # so it is asked again
    ours.commit(B)
    assert removed(ours[C])


def test_our_own_wish_comes_back_and_is_stored() -> None:
    ours = leavers(2)
    message = ours.propose(B, WISH)
    with pytest.raises(OwnMessageError):
        front.receive(ours[B], ours.env, message)
    stored = [store.decode(ours.env.provider, DEFAULT, store.encode(ours[name])) for name in (A, B)]
    assert [len(group.proposals) for group in stored] == [1, 1]
    ours.groups.update(zip((A, B), stored, strict=True))
    with pytest.raises(CallerError, match="already"):
        front.propose(ours[B], ours.env, WISH)
    ours.commit(A)
    assert removed(ours[B])


# From outside


def test_who_joins_carries_wishes_out() -> None:
    """Of all who asked; those who are removed by it know it, and those who stay agree."""
    ours = leavers(5)
    wishes = [ours.propose(name, WISH) for name in (B, D)]
    joined = enter(ours, "stranger", *wishes)
    events = ours.deliver(joined.message)
    for event in events.values():
        assert isinstance(event, CommitMessage)
        assert event.external
        assert set(event.plan.self_removed) == {1, 3}
        assert event.plan.resynced is None
    assert [removed(ours[name]) for name in (A, B, C, D, "member04")] == [False, True, False, True, False]
    ours.clients["stranger"], ours.groups["stranger"] = client("stranger", capabilities=ABLE), joined.group
    ours.agree()
    assert joined.group.own_leaf == 1  # the place that one of them left
    ours.say("stranger", b"hello")
    ours.say(C, b"welcome")


def test_who_is_removed_by_a_join_ends_though_it_carried_nothing_else() -> None:
    """The one who leaves may be the last but one, or the one on whose leaf the newcomer sits down."""
    ours = leavers(2)
    message = ours.propose(A, WISH)
    joined = enter(ours, "stranger", message)
    for name in (A, B):
        accepts(ours, name, joined.message)
    assert ours[A].ended is Ended.REMOVED
    assert joined.group.own_leaf == 0
    ours.groups["stranger"] = joined.group
    ours.agree()


def test_coming_back_while_others_leave() -> None:
    """A resync names the old leaf and the wishes of others; its own old wish is withdrawn by coming back."""
    ours = leavers(4)
    wishes = [ours.propose(name, WISH) for name in (B, C)]
    old = ours.leaf(C)
    joined = enter(ours, C, *wishes, remove=old)
    del ours.groups[C]
    event = ours.deliver(joined.message)[A]
    assert isinstance(event, CommitMessage)
    assert (event.plan.self_removed, event.plan.resynced) == ((1,), old)
    ours.groups[C] = joined.group
    ours.agree()
    assert ours.names == [A, D, C]


@breaks("VAL-12.2-3")
def test_a_resync_with_the_wish_of_its_own_leaf_is_refused() -> None:
    ours = leavers(3)
    ours.propose(C, WISH)
    item = next(iter(ours[B].proposals.values()))
    first, init = external_init(ours[B], ours.env)
    remove = Remove(ours.leaf(C))
    bad = forge_commit(ours[B], ours.env, ours.clients[C], [first, remove, item], external=init)
    good = forge_commit(ours[B], ours.env, ours.clients[C], [first, remove], external=init)
    refuses("VAL-12.2-3", ours, A, bad.message, good.message)


def test_two_wishes_of_one_member_do_not_keep_anybody_out() -> None:
    """An insider may ask twice; who joins takes one."""
    ours = leavers(3)
    first = ours.propose(C, WISH)
    content = authenticated(ours[C], ContentType.PROPOSAL, WISH, wire_format=WireFormat.PUBLIC_MESSAGE, data=b"2")
    second = as_public(ours[C], content)
    joined = enter(ours, "stranger", second, first, second)
    for name in (A, B):
        with pytest.raises(MissingProposalsError) as missing:
            front.receive(ours[name], ours.env, joined.message)
        ours.groups[name] = front.receive(ours[name], ours.env, second, admit=missing.value.references).group
        accepts(ours, name, joined.message)
    ours.groups["stranger"] = joined.group
    del ours.groups[C]
    ours.agree()


def test_an_external_commit_names_a_wish_that_has_not_arrived() -> None:
    ours = leavers(3)
    message = wish(ours, C)
    joined = enter(ours, "stranger", message)
    before = snapshot(ours[A])
    with pytest.raises(MissingProposalsError) as missing:
        front.receive(ours[A], ours.env, joined.message)
    assert snapshot(ours[A]) == before
    asked = missing.value.references
    assert len(asked) == 1
    heard = accepts(ours, A, message, admit=asked)
    assert isinstance(heard, ProposalMessage)
    assert heard.reference in asked
    event = accepts(ours, A, joined.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.self_removed == (ours.leaf(C),)
    assert ours[A].authenticator == joined.group.authenticator


@breaks("VAL-12.4.3.2-2")
def test_where_wishes_cannot_be_a_reference_is_none() -> None:
    """Nobody waits for a proposal that no external commit of this group could name."""
    ours = party(3, capabilities=PLAIN)
    first, init = external_init(ours[B], ours.env)
    someone = client("stranger")
    listed: list[Proposal | ProposalRef] = [first, ProposalRef(bytes(32))]
    bad = forge_commit(ours[B], ours.env, someone, [first], external=init, listed=listed)
    good = forge_commit(ours[B], ours.env, someone, [first], external=init)
    refuses("VAL-12.4.3.2-2", ours, A, bad.message, good.message)


def changed(message: bytes, **fields: object) -> bytes:
    """The PublicMessage with another signature or tag."""
    reader = Reader(message)
    read_wire_format(reader)
    public = PublicMessage.decode(reader)
    tag = fields.pop("tag", public.membership_tag)
    return encode_message(
        WireFormat.PUBLIC_MESSAGE,
        PublicMessage(replace(public.authenticated, **fields), tag).encode(),  # type: ignore[arg-type]
    )


@breaks("VAL-6.1-1")
def test_a_forged_wish() -> None:
    """Who joins cannot check the membership tag, but nobody signs for another."""
    ours = leavers(3)
    message = wish(ours, C)
    forged = changed(message, signature=bytes(64))
    refused("VAL-6.1-1", lambda: enter(ours, "stranger", forged))
    other = authenticated(
        ours[B],
        ContentType.PROPOSAL,
        WISH,
        wire_format=WireFormat.PUBLIC_MESSAGE,
        sender=Sender(1, ours.leaf(C)),
    )
    refused("VAL-6.1-1", lambda: enter(ours, "stranger", as_public(ours[B], other)))
    for name in (A, B):
        refuses("VAL-6.1-1", ours, name, as_public(ours[B], other), message)
    # A broken tag is not seen by who joins, and the reference is that of the good one.
    joined = enter(ours, "stranger", changed(message, tag=flipped(bytes(32))))
    accepts(ours, A, message)
    accepts(ours, A, joined.message)
    refuses("VAL-6.2-2", ours, B, changed(message, tag=flipped(bytes(32))), message)


@breaks("VAL-6-4")
def test_a_wish_of_another_wire_format() -> None:
    ours = leavers(3)
    good = wish(ours, C)
    private = as_private(ours[B], ours.env, authenticated(ours[B], ContentType.PROPOSAL, WISH))
    for message in (private, front.group_info(ours[A]), encode_message(9, b"")):
        refused("VAL-6-4", lambda: enter(ours, "stranger", message))  # noqa: B023 - used at once
    enter(ours, "stranger", good)
    with pytest.raises(PeerError):
        enter(ours, "stranger", good + b"\x00")


@breaks("VAL-6-5")
@pytest.mark.parametrize("leaf", [3, 400])
def test_a_wish_of_a_blank_leaf(leaf: int) -> None:
    ours = leavers(4)
    ours.commit(A, proposals=[Remove(LeafIndex(3))])
    content = authenticated(
        ours[B],
        ContentType.PROPOSAL,
        WISH,
        wire_format=WireFormat.PUBLIC_MESSAGE,
        sender=Sender(1, leaf),
        signer=ours.clients[D].signer,
    )
    refused("VAL-6-5", lambda: enter(ours, "stranger", as_public(ours[B], content)))
    enter(ours, "stranger", wish(ours, C))


@breaks("VAL-12.4.3.2-2")
def test_what_is_no_wish() -> None:
    """Who joins by external commit refers to nothing else."""
    ours = leavers(3)
    update = own_update(ours[B], ours.clients[B], ours.env)
    for body in (Remove(ours.leaf(C)), update):
        content = authenticated(ours[B], ContentType.PROPOSAL, body, wire_format=WireFormat.PUBLIC_MESSAGE)
        refused("VAL-12.4.3.2-2", lambda: enter(ours, "stranger", as_public(ours[B], content)))  # noqa: B023
    commit = front.commit(ours[B], ours.env, encrypt=False).message
    refused("VAL-12.4.3.2-2", lambda: enter(ours, "stranger", commit))
    enter(ours, "stranger", wish(ours, C))


def test_a_wish_of_another_time_or_place() -> None:
    """Replayed later, brought from another group, or kept back: the signature binds it to one epoch."""
    ours = leavers(3)
    old = wish(ours, C)
    early = ours.copy(ours.env)
    ours.commit(A)
    with pytest.raises(PastEpochError):
        enter(ours, "stranger", old)
    with pytest.raises(FutureEpochError):
        enter(early, "stranger", wish(ours, C))
    other = client(B, capabilities=ABLE).create(ours.env, b"elsewhere")
    _, message, _ = front.propose(other, ours.env, WISH)
    with pytest.raises(WrongGroupError):
        enter(ours, "stranger", message)
    # A rival of the same number is another epoch too: the signature covers its transcript.
    rival = early.copy(ours.env)
    rival.commit(B)
    assert rival.any.epoch == ours.any.epoch
    refused("VAL-6.1-1", lambda: enter(rival, "stranger", wish(ours, B)))


@breaks("VAL-12.1.8-1", "VAL-12.1.8-2")
def test_a_wish_from_outside() -> None:
    """Neither an external sender nor somebody new can leave."""
    suite = Suite(1)
    outsider = client("outside")
    listed = external_senders_extension(
        (ExternalSender(suite.scheme.public_key(outsider.signer), outsider.credential),)
    )
    ours = party(2, capabilities=ABLE, extensions=(listed,))
    for proposal, rule in ((WISH, "VAL-12.1.8-1"), (Remove(LeafIndex(1)), "")):
        message = front.propose_as_sender(
            ours.env,
            1,
            ours.any.group_id,
            ours.any.epoch,
            proposal,
            sender_index=0,
            signature_private=outsider.signer,
        )
        if rule:
            refuses(rule, ours, A, message)
        else:
            accepts(ours, A, message)
    new = authenticated(
        ours[A],
        ContentType.PROPOSAL,
        WISH,
        wire_format=WireFormat.PUBLIC_MESSAGE,
        sender=Sender(SenderType.NEW_MEMBER_PROPOSAL),
        signer=outsider.signer,
    )
    body = encode_message(WireFormat.PUBLIC_MESSAGE, PublicMessage(new, b"").encode())
    refuses("VAL-12.1.8-2", ours, B, body)


def test_who_joins_where_wishes_cannot_be() -> None:
    """Offered one by a carrier in a group where a member does not support it, who joins refuses it."""
    ours = leavers(2)
    plain = client("plain", capabilities=PLAIN)
    ours.commit(A, joining=[(plain, plain.package(ours.env))])
    content = authenticated(ours[B], ContentType.PROPOSAL, WISH, wire_format=WireFormat.PUBLIC_MESSAGE)
    refused("VAL-12.2-10", lambda: enter(ours, "stranger", as_public(ours[B], content)))
    enter(ours, "stranger")


def test_a_leaver_s_value_holds_nothing() -> None:
    ours = leavers(3)
    ours.propose(C, WISH)
    ours.commit(A)
    gone: Group = ours[C]
    assert (gone.private, gone.trees, gone.proposals) == ({}, {}, {})
    for call in (
        lambda: front.safe_export(gone, 0x8001),
        lambda: front.export_secret(gone, b"label", b"", 32),
        lambda: front.seal(gone, ours.env, b"ghost"),
        lambda: front.commit(gone, ours.env),
        lambda: front.propose(gone, ours.env, WISH),
    ):
        with pytest.raises(MlsError):
            call()
    assert isinstance(gone.public.tree, RatchetTree)
