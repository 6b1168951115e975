"""Attacks on a virtual client by who is in a conversation with it: copied leaves, messages sealed anew, false Welcomes.

An insider sees the virtual client's leaves with all that is sealed in them, knows every message key of the
conversation, and can sign as whom the authentication service takes for anybody. What binds a leaf to siblings is only
sealed to its encryption key, and both can be copied.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.credential import BasicCredential
from mls.errors import PeerError, StaleError
from mls.framing import encode_message, seal_private
from mls.group import ApplicationMessage, CommitMessage
from mls.leaf_node import LeafNode
from mls.messages import open_message
from mls.proposals import Add, Proposal, Remove
from mls.registries import ContentType, WireFormat
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.state import Ended, Group
from mls.virtual import client as vc
from mls.virtual.settings import Settings
from mls.welcome import decode_welcome
from tests.mls.clients import Client
from tests.mls.frankenstein import (
    Forged,
    PathSurgery,
    external_init,
    forge_commit,
    forge_package,
    own_update,
    proposed,
)
from tests.mls.virtual.household import DERIVED, SETTINGS, Household, offer

DID_NOT_RAISE = pytest.fail.Exception
FIRST, SECOND = "device0", "device1"
A, B = b"group", b"other"


def met(**options: object) -> Household:
    """Two conversations of a virtual client, with mallory in both."""
    home = Household(2, **options)  # type: ignore[arg-type]
    for group_id in (A, B):
        home.create(FIRST, group_id)
        home.invite(FIRST, group_id, "mallory", "anna")
    return home


def insider(home: Household, group_id: bytes) -> Group:
    return home.others[group_id]["mallory"]


def committed(home: Household, group_id: bytes = A, by: str = FIRST) -> tuple[vc.Acted, LeafNode]:
    """A commit that is on its way, and the leaf that stands in it."""
    device = home[by]
    acted = vc.commit(device.emulation, device.groups[group_id], device.env, force_path=True)
    device.emulation = acted.emulation
    leaf = acted.commit.group.public.tree.leaf(acted.commit.group.own_leaf)
    assert leaf is not None
    return acted, leaf


def impostor(home: Household) -> Client:
    """Mallory with another key, and a credential that passes for the virtual client's."""
    return replace(home.person("mallory again"), name="household")


def resync(home: Household, group_id: bytes, leaf: LeafNode | None) -> Forged:
    """A commit from outside that takes the virtual client's place, with what was copied from a leaf."""
    inside = insider(home, group_id)
    proposal, init = external_init(inside, home.env)
    copied = {} if leaf is None else {"encryption_key": leaf.encryption_key, "extensions": leaf.extensions}
    proposals: list[Proposal] = [proposal, Remove(home[SECOND].groups[group_id].own_leaf)]
    return forge_commit(inside, home.env, impostor(home), proposals, path=PathSurgery(leaf=copied), external=init)


def unharmed(home: Household, acted: vc.Acted) -> None:
    """The sibling follows the genuine commit, and both go on."""
    device = home[SECOND]
    got = vc.receive(device.emulation, device.groups[A], device.env, acted.commit.message)
    device.emulation, device.groups[A] = got.emulation, got.event.group
    home[FIRST].groups[A] = acted.commit.group
    home.others[A] = {
        name: front.receive(each, home.env, acted.commit.message).group for name, each in home.others[A].items()
    }
    home.agree()
    home.commit(SECOND, A, force_path=True)
    home.agree()


# A leaf of one conversation in another (the cross-group attack)


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
@pytest.mark.parametrize("place", [B, A])
def test_a_copy_in_a_commit_from_outside_takes_nothing(place: bytes, settings: Settings) -> None:
    """The copy comes first; what it was made of is still good for the commit that it was copied from."""
    home = met(settings=settings)
    acted, leaf = committed(home)
    forged = resync(home, place, leaf)
    device = home[SECOND]
    before = device.emulation
    got = vc.receive(device.emulation, device.groups[place], device.env, forged.message)
    assert got.event.group.ended is Ended.REMOVED  # as anybody sees it whose authentication service lets it pass
    assert got.author is None
    assert got.emulation.epochs == before.epochs
    device.emulation = got.emulation
    unharmed(home, acted)


def test_a_copy_of_a_commit_from_outside_takes_nothing() -> None:
    """This one carries an init secret, and it opens."""
    home = met(settings=DERIVED)
    first = home[FIRST]
    entered = vc.join_externally(
        first.emulation,
        first.env,
        home.parameters,
        front.group_info(insider(home, A)),
        credential=offer().credential,
        capabilities=offer().capabilities,
        remove=first.groups[A].own_leaf,
    )
    first.emulation = entered.emulation
    leaf = entered.joined.group.own_leaf_node
    second = home[SECOND]
    for place in (B, A):
        forged = resync(home, place, leaf)
        got = vc.receive(second.emulation, second.groups[place], second.env, forged.message)
        assert got.event.group.ended is Ended.REMOVED
        assert got.emulation.epochs == second.emulation.epochs
    got = vc.receive(second.emulation, second.groups[A], second.env, entered.joined.message)
    assert got.event.group.authenticator == entered.joined.group.authenticator


def test_a_copy_of_a_commit_from_outside_that_was_followed_is_known_for_one() -> None:
    """What it was made of is used up, and was for the other group; so no sibling made it that is heard too late."""
    home = met(settings=DERIVED)
    first, second = home[FIRST], home[SECOND]
    entered = vc.join_externally(
        first.emulation,
        first.env,
        home.parameters,
        front.group_info(insider(home, A)),
        credential=offer().credential,
        capabilities=offer().capabilities,
        remove=first.groups[A].own_leaf,
    )
    first.emulation = entered.emulation
    got = vc.receive(second.emulation, second.groups[A], second.env, entered.joined.message)
    second.emulation = got.emulation
    forged = resync(home, B, entered.joined.group.own_leaf_node)
    for device in (first, second):
        got = vc.receive(device.emulation, device.groups[B], device.env, forged.message)
        assert got.event.group.ended is Ended.REMOVED
        assert not got.ours
        again = vc.receive(device.emulation, device.groups[A], device.env, entered.joined.message)
        assert again.event.group.authenticator == entered.joined.group.authenticator


@pytest.mark.parametrize("how", ["update", "add"])
def test_a_copy_in_somebody_else_s_leaf_is_never_opened(how: str) -> None:
    home = met()
    acted, leaf = committed(home)
    inside, mallory = insider(home, B), home.person("mallory")
    if how == "update":
        update = own_update(inside, mallory, home.env, encryption_key=leaf.encryption_key, extensions=leaf.extensions)
        message = proposed(inside, home.env, update)
    else:
        package = forge_package(
            home.person("eve"), home.env, leaf_key=leaf.encryption_key, leaf_extensions=leaf.extensions
        )
        message = front.commit(home.others[B]["anna"], home.env, proposals=[Add(package.key_package)]).message
    device = home[SECOND]
    got = vc.receive(device.emulation, device.groups[B], device.env, message)
    assert got.emulation is device.emulation
    assert not got.ours
    unharmed(home, acted)


@pytest.mark.parametrize("copied", [True, False])
def test_who_takes_our_place_cannot_keep_it_from_us(copied: bool) -> None:
    """Everybody else follows it, if the authentication service does; our devices stay behind and talk to nobody."""
    home = met()
    _, leaf = committed(home)
    if not copied:  # one that does not open says the same: no sibling made it
        leaf = replace(leaf, encryption_key=leaf.encryption_key[:-1] + b"\x00")
    forged = resync(home, B, leaf)
    other = front.receive(home.others[B]["anna"], home.env, forged.message)
    assert isinstance(other, CommitMessage)
    device = home[SECOND]
    got = vc.receive(device.emulation, device.groups[B], device.env, forged.message)
    assert got.event.group.ended is Ended.REMOVED


def test_a_stranger_in_our_place_is_noticed() -> None:
    home = met()
    forged = resync(home, B, None)
    for name in home.names:
        device = home[name]
        got = vc.receive(device.emulation, device.groups[B], device.env, forged.message)
        assert got.event.group.ended is Ended.REMOVED
        assert not got.ours


# Welcomes


@pytest.mark.parametrize("settings", [SETTINGS, DERIVED])
def test_a_welcome_to_a_copy_of_our_leaf_is_not_taken(settings: Settings) -> None:
    """Sealed to our init key, under our reference, with our encryption key and info in a leaf that mallory signed."""
    home = Household(2, settings=settings)
    (genuine,) = home.upload(FIRST).released(announced=True)
    leaf = genuine.leaf_node
    mallory = home.person("mallory")
    package = forge_package(
        home.person("eve"),
        home.env,
        init_key=genuine.init_key,
        leaf_key=leaf.encryption_key,
        leaf_extensions=leaf.extensions,
        credential=BasicCredential(b"household"),
    )
    sent = front.commit(mallory.create(home.env), home.env, proposals=[Add(package.key_package)])
    assert sent.welcome is not None
    welcome = decode_welcome(sent.welcome)
    (entry,) = welcome.secrets
    suite = home[SECOND].env.suite(1)
    renamed = replace(welcome, secrets=(replace(entry, new_member=genuine.reference(suite)),))
    device = home[SECOND]
    with pytest.raises((PeerError, StaleError)):
        vc.join(
            device.emulation,
            device.env,
            home.parameters,
            encode_message(WireFormat.WELCOME, renamed.encode()),
        )
    good = front.commit(mallory.create(home.env, B), home.env, proposals=[Add(genuine)])
    assert good.welcome is not None
    assert vc.join(device.emulation, device.env, home.parameters, good.welcome).group.epoch == 1


def test_a_conversation_does_not_have_the_name_of_the_emulation_group() -> None:
    home = Household(2)
    (package,) = home.upload(FIRST).released(announced=True)
    name = home[FIRST].emulation.group.group_id
    sent = front.commit(home.person("mallory").create(home.env, name), home.env, proposals=[Add(package)])
    device = home[SECOND]
    assert sent.welcome is not None
    with pytest.raises(PeerError):
        vc.join(device.emulation, device.env, home.parameters, sent.welcome)


# Who said it


def sealed_anew(home: Household, message: bytes, generation: int, guard: bytes = b"four") -> bytes:
    """What our leaf said, as a member can say it once more: the signature covers neither generation nor guard."""
    inside = insider(home, A)
    opened = open_message(inside, message, shared_leaf=False)
    authenticated = opened.verified.authenticated
    kind = APPLICATION if authenticated.content.content_type == ContentType.APPLICATION else HANDSHAKE
    leaf = home[FIRST].groups[A].own_leaf
    _, key = inside.keys.key_at(inside.suite, leaf, kind, generation, max_forward=2000, out_of_order=64)
    padding = inside.parameters.padding.size
    private = seal_private(inside.suite, authenticated, key, inside.secrets.sender_data, guard, padding)
    return encode_message(WireFormat.PRIVATE_MESSAGE, private.encode())


def test_a_member_can_seal_what_we_said_anew() -> None:
    """So the author that a guard names is no proof against members, who need no secret of ours for it.

    They cannot choose the author, and can try until the message seems to be a device's own. Whoever drops echoes must
    know them for what it sent itself.
    """
    home = met()
    first, second = home[FIRST], home[SECOND]
    sealed = vc.seal(first.emulation, first.groups[A], first.env, b"hello")
    echoes = 0
    for ahead in range(1, 17):
        message = sealed_anew(home, sealed.message, ahead, bytes([ahead] * 4))
        got = vc.receive(second.emulation, second.groups[A], second.env, message)
        assert isinstance(got.event, ApplicationMessage)
        assert got.event.data == b"hello"
        assert got.ours
        echoes += got.echo
    assert 0 < echoes < 16


def test_a_member_cannot_keep_us_from_following_each_other() -> None:
    """One proposal of ours, sealed anew as far ahead as is read. Everybody but our own devices follows what is next."""
    home = met()
    first = home[FIRST]
    proposed_ = vc.propose_update(first.emulation, first.groups[A], first.env)
    first.emulation, first.groups[A] = proposed_.emulation, proposed_.group
    message = sealed_anew(home, proposed_.message, 1000)
    home.spread(A, proposed_.message, by=FIRST)
    home.spread(A, message)
    acted = vc.commit(first.emulation, first.groups[A], first.env, force_path=True)
    anna = front.receive(home.others[A]["anna"], home.env, acted.commit.message)
    assert anna.group.authenticator == acted.commit.group.authenticator
    second = home[SECOND]
    got = vc.receive(second.emulation, second.groups[A], second.env, acted.commit.message)
    assert got.event.group.authenticator == acted.commit.group.authenticator


@pytest.mark.xfail(
    strict=True,
    raises=PeerError,
    reason="what a member seals anew moves the ratchet that a device sends by, farther than others follow at once",
)
def test_a_member_cannot_make_us_send_what_others_refuse() -> None:
    """It reaches one device and not, or not yet, the others. A plain client's ratchet moves when it sends alone."""
    home = met()
    first = home[FIRST]
    sealed = vc.seal(first.emulation, first.groups[A], first.env, b"hello")
    first.groups[A] = sealed.group
    message = sealed_anew(home, sealed.message, 1001)
    home.spread(A, sealed.message, by=FIRST)
    first.groups[A] = vc.receive(first.emulation, first.groups[A], first.env, message).event.group
    again = vc.seal(first.emulation, first.groups[A], first.env, b"again")
    home.spread(A, again.message, by=FIRST)


# Back to older epochs


def test_a_removed_device_and_a_member_cannot_take_the_leaf_back() -> None:
    """They have the epoch's secrets and the signature key, which nobody replaced. Only siblings can see what is wrong.

    Everybody else follows, and so the conversation is lost: replace signature keys with the leaf (mls.virtual.removal).
    """
    home = Household(3)
    home.create(FIRST)
    home.invite(FIRST, A, "mallory", "anna")
    gone = home.remove_device(SECOND, by=FIRST)
    home.commit(FIRST, A, force_path=True)
    home.agree()
    inside = insider(home, A)
    old = gone.groups[A]
    posing = replace(inside, own_leaf=old.own_leaf, signature_key=old.signature_key, private={})
    acted = vc.commit(gone.emulation, posing, gone.env, force_path=True, encrypt=False)
    assert isinstance(front.receive(home.others[A]["anna"], home.env, acted.commit.message), CommitMessage)
    for name in home.names:
        device = home[name]
        with pytest.raises(PeerError, match=r"VC-6\.2-3"):
            vc.receive(device.emulation, device.groups[A], device.env, acted.commit.message)


def test_a_removed_device_cannot_take_the_leaf_back_by_an_update() -> None:
    home = Household(3)
    home.create(FIRST)
    home.invite(FIRST, A, "mallory", "anna")
    gone = home.remove_device(SECOND, by=FIRST)
    home.commit(FIRST, A, force_path=True)
    home.agree()
    inside, old = insider(home, A), gone.groups[A]
    posing = replace(inside, own_leaf=old.own_leaf, signature_key=old.signature_key, private={})
    update = vc.propose_update(gone.emulation, posing, gone.env, encrypt=False)
    with_update = front.receive(inside, home.env, update.message)
    sent = front.commit(with_update.group, home.env)
    device = home[FIRST]
    heard = vc.receive(device.emulation, device.groups[A], device.env, update.message)
    assert heard.emulation is device.emulation
    with pytest.raises(PeerError, match=r"VC-6\.2-3"):
        vc.receive(heard.emulation, heard.event.group, device.env, sent.message)


# Two of what there is to be one of


def test_a_leaf_with_two_dictionaries_is_no_leaf() -> None:
    home = met()
    _, leaf = committed(home)
    inside, mallory = insider(home, B), home.person("mallory")
    update = own_update(inside, mallory, home.env, extensions=(*leaf.extensions, *leaf.extensions))
    device = home[SECOND]
    with pytest.raises(PeerError):
        vc.receive(device.emulation, device.groups[B], device.env, proposed(inside, home.env, update))
