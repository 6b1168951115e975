"""How devices get into conversations of send groups, and let each other in.

Whoever has the topic asks there with a KeyPackage (`Offering`). A device that called the account, or is one of its own,
adds it to its send group and answers with the Welcome and everybody's KeyPackages (`Entry`), of which the newcomer
makes a send group of its own. A name proves the KeyPackage that it comes with, as it is a hash of its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mls.codec import decode_exactly
from mls.distributed import session as dimls
from mls.distributed.errors import AwaitedError, StrangerError
from mls.distributed.mode import OWNER, send_group_id, send_group_of
from mls.distributed.send_group import places_of
from mls.distributed.values import Session
from mls.key_package import KeyPackage, KeyPackageSecrets, check_key_package
from mls.registries import GroupId as MlsGroupId
from mls.secrets import SignaturePrivateKey
from mls.welcome import decode_welcome, join_informed
from vcd.core import contacts, ourselves, ranks, sessions, steps, waiting
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.credential import virtual_credential
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.events import IntentFate
from vcd.core.names import AccountId, GroupId
from vcd.core.payloads import Entry, Letter, Offering
from vcd.core.policy import Mode
from vcd.core.sends import MAX_PACKAGES, NUMBERS, POLICY, NewTopic, Offered, Sends, capabilities, parameters
from vcd.core.state import Acceptance, Talk
from vcd.core.topics import TopicSecret
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core.turn import Turn

MAX_OFFERS = 8
"""KeyPackages of this device that may be used."""
MAX_TOPICS = 8
"""That are listened to, and how far ahead the number of the next may be."""


def begin(
    turn: Turn,
    group_id: GroupId,
    *,
    by: AccountId,
    topic: TopicSecret,
    number: int,
    acceptance: Acceptance = Acceptance.YES,
) -> None:
    """A conversation that this device did not know of."""
    sends = Sends(by=by, topics=(topic,), number=number)
    turn.put_talk(Talk(group_id=group_id, mode=Mode.DIMLS, acceptance=acceptance, sends=sends))
    turn.join(topic, group_id)
    if acceptance is Acceptance.YES:
        tell(turn, group_id, accept=True)
    turn.due(Duty.TEND, group_id, turn.now + POLICY.update_every)


def _key(turn: Turn, group_id: GroupId) -> SignaturePrivateKey:
    """Of this device's leaves in the conversation."""
    known = sessions.sends_of(turn, group_id).signature
    if known is not None:
        return known
    private, _ = turn.provider.suite(turn.state.config.cipher_suite).scheme.generate(turn.random)
    sessions.put(turn, group_id, signature=private)
    return private


def _leaf(turn: Turn, group_id: GroupId) -> dict[str, Any]:
    """What our leaves say."""
    edition, signing = turn.state.book.edition, turn.state.household.signing
    if edition is None or signing is None:
        raise Misuse("no-account", "this device has no account yet")
    private = _key(turn, group_id)
    public = turn.provider.suite(turn.state.config.cipher_suite).scheme.public_key(private)
    return {
        "credential": virtual_credential(turn.provider, edition.head, signing, public),
        "signature_private": private,
        "capabilities": capabilities(),
        "lifetime": ourselves.lifetime(turn),
    }


def offer(turn: Turn, group_id: GroupId) -> None:
    """A KeyPackage for this conversation, for whoever lets us in."""
    suite = turn.state.config.cipher_suite
    made = dimls.offer(turn.env, parameters(), suite, group_id, **_leaf(turn, group_id))
    package = made.key_package.encode()
    offered = Offered(
        package=package,
        reference=made.key_package.reference(turn.provider.suite(suite)),
        init_private=made.init_private,
        leaf_private=made.leaf_private,
        until=turn.now + turn.state.config.package_life,
    )
    name = send_group_of(NUMBERS, made.key_package.leaf_node)
    sends = sessions.sends_of(turn, group_id)
    kept = [each for each in sends.offers if each.until > turn.now]
    sessions.put(
        turn,
        group_id,
        offers=tuple([*kept, offered][-MAX_OFFERS:]),
        offered=turn.now,
        packages=sends.packages.set(name, package),
        devices=sends.devices.set(name, turn.state.me.device),
    )
    sessions.publish(turn, group_id, Offering(package=package))
    tell_name(turn, group_id, name)


def offers(turn: Turn, group_id: GroupId) -> list[KeyPackageSecrets]:
    private = _key(turn, group_id)
    return [
        KeyPackageSecrets(
            decode_exactly(each.package, KeyPackage.decode), each.init_private, each.leaf_private, private
        )
        for each in sessions.sends_of(turn, group_id).offers
    ]


def found(turn: Turn, group_id: GroupId, packages: Sequence[KeyPackage]) -> Session:
    """Our own send group, with everybody who is known."""
    made = dimls.create(
        turn.env,
        parameters(),
        turn.state.config.cipher_suite,
        group_id,
        **_leaf(turn, group_id),
        packages=packages,
    )
    sessions.keep(turn, group_id, made.session, took=turn.now)
    turn.due(Duty.TEND, group_id, turn.now + turn.state.config.quiet)
    if made.welcome is not None:
        let_in(turn, group_id, made.session, made.welcome)
    return made.session


def let_in(turn: Turn, group_id: GroupId, session: Session, welcome: bytes) -> None:
    table = sessions.sends_of(turn, group_id).packages
    packages = tuple(table[name] for name in sorted(session.own.places) if name in table)
    sessions.publish(turn, group_id, Entry(welcome=welcome, packages=packages[:MAX_PACKAGES]))


def _renewed(turn: Turn, group_id: GroupId, session: Session) -> dimls.NewLeaf:
    """What our leaf says, if the account has shown a newer list since."""
    edition = turn.state.book.edition
    shown = head_of(session.own.owner_leaf.credential)
    if edition is None or shown is None or edition.head.version <= shown.version:
        return dimls.KEEP
    return dimls.NewLeaf(credential=_leaf(turn, group_id)["credential"])


def commit(
    turn: Turn, group_id: GroupId, *, add: Sequence[KeyPackage] = (), remove: Sequence[MlsGroupId] = ()
) -> Session:
    """A commit in our own send group: it is nobody else's to decide on."""
    session = sessions.session_in(turn, group_id)
    made = dimls.commit(session, turn.env, add=add, remove=remove, leaf=_renewed(turn, group_id, session))
    table = sessions.sends_of(turn, group_id).packages
    gone = [name for name in made.removed if name in table]
    sessions.keep(turn, group_id, made.session, took=turn.now, packages=table.changed(gone, {}))
    sessions.publish(turn, group_id, Letter(message=made.message))
    if made.welcome is not None:
        let_in(turn, group_id, made.session, made.welcome)
    return made.session


def on_offering(turn: Turn, group_id: GroupId, payload: Offering) -> waiting.Needs | None:
    """Somebody asks to be let in, or a member has a new KeyPackage."""
    package = checked(turn, group_id, payload.package)
    name = send_group_of(NUMBERS, package.leaf_node)
    note(turn, group_id, package)
    session, sends = sessions.session_of(turn, group_id), sessions.sends_of(turn, group_id)
    if session is None or name in session.own.members or name in session.dropped or name in session.invited:
        return None
    account = steps.whose(package.leaf_node)
    if account in sends.leaving or (account not in sends.called and account != turn.state.book.own):
        return None
    head = head_of(package.leaf_node.credential)
    if head is None or turn.state.book.superseded(head):
        raise Refused("offering-superseded")
    commit(turn, group_id, add=[package])
    called = sends.called.find(account)
    if called is not None and not called.came:
        sessions.put(
            turn, group_id, called=sessions.sends_of(turn, group_id).called.set(account, replace(called, came=True))
        )
        turn.tell(IntentFate(intent=called.intent, stands=True))
    return None


def checked(turn: Turn, group_id: GroupId, data: bytes) -> KeyPackage:
    """A KeyPackage that proves its send group's name; the rest is judged where it is added."""
    package = decode_exactly(data, KeyPackage.decode)
    suite = turn.provider.suite(turn.state.config.cipher_suite)
    check_key_package(package, suite)
    leaf = package.leaf_node
    if send_group_id(suite, group_id, leaf.signature_key) != send_group_of(NUMBERS, leaf):
        raise Refused("offering-name")
    return package


def note(turn: Turn, group_id: GroupId, package: KeyPackage) -> None:
    """Keep a KeyPackage for those who come in after it; the newest of each member."""
    table = sessions.sends_of(turn, group_id).packages
    name = send_group_of(NUMBERS, package.leaf_node)
    if (name in table or len(table) < MAX_PACKAGES) and table.find(name) != package.encoded:
        sessions.put(turn, group_id, packages=table.set(name, package.encoded))


def on_entry(turn: Turn, group_id: GroupId, payload: Entry) -> waiting.Needs | None:
    """A Welcome to somebody's send group, maybe for us."""
    if sessions.sends_of(turn, group_id).signature is None or len(payload.packages) > MAX_PACKAGES:
        return None
    references = {each.reference for each in sessions.sends_of(turn, group_id).offers}
    if all(each.new_member not in references for each in decode_welcome(payload.welcome).secrets):
        return None
    session = sessions.session_of(turn, group_id) or _first_entry(turn, group_id, payload)
    if session is None:
        return Need.GROUP, group_id
    for data in payload.packages:
        note(turn, group_id, checked(turn, group_id, data))
    try:
        joined = dimls.join(session, turn.env, payload.welcome, offers(turn, group_id))
    except AwaitedError as error:
        return sessions.needs(session, error)
    except StrangerError:
        return Need.GROUP, group_id
    sessions.keep(turn, group_id, joined.session)
    contacts.seen(turn, [joined.session.groups[joined.owner].owner_leaf])
    sessions.wake(turn, group_id, joined.session, joined.owner, entered=True)
    return None


def _first_entry(turn: Turn, group_id: GroupId, payload: Entry) -> Session | None:
    """Let in for the first time: make our own send group with everybody who is in that one.

    It has to be of whoever called us, or of another device of ours: they vouch for the others. None if it is not.
    """
    sends = sessions.sends_of(turn, group_id)
    group = join_informed(turn.env, parameters(), payload.welcome, offers(turn, group_id)).group
    places = places_of(NUMBERS, group.members)
    leaves = dict(group.members)
    if steps.whose(leaves[OWNER]) not in (sends.by, turn.state.book.own):
        return None
    packages = []
    for data in payload.packages:
        package = checked(turn, group_id, data)
        at = places.get(send_group_of(NUMBERS, package.leaf_node))
        if at is None or at == group.own_leaf:
            continue
        if steps.whose(package.leaf_node) != steps.whose(leaves[at]):
            raise Refused("entry-package")
        packages.append(package)
        note(turn, group_id, package)
    if OWNER not in [places[send_group_of(NUMBERS, each.leaf_node)] for each in packages]:
        raise Refused("entry-owner")
    session = found(turn, group_id, packages)
    waiting.wake(turn, (Need.GROUP, group_id))
    return session


# ---------------------------------------------------------------- topics


def listen(turn: Turn, group_id: GroupId, word: NewTopic) -> None:
    """A topic that somebody drew. All write to the one with the highest number, then the highest secret.

    Who is on the way into the conversation knows the one of before only: they are called once more.
    """
    sends = sessions.sends_of(turn, group_id)
    if any(each.raw == word.topic.raw for each in sends.topics) or len(word.topic.raw) != 32:
        return
    if word.number > sends.number + MAX_TOPICS:
        raise Refused("topic-number")
    turn.join(word.topic, group_id)
    newer = (word.number, word.topic.raw) > (sends.number, sends.topics[0].raw)
    ordered = (word.topic, *sends.topics) if newer else (sends.topics[0], word.topic, *sends.topics[1:])
    sends = sessions.put(turn, group_id, topics=ordered[:MAX_TOPICS], number=max(word.number, sends.number))
    for secret in ordered[MAX_TOPICS:]:
        sessions.leave_topic(turn, secret, turn.now + turn.state.config.frame_life)
    if not newer:
        return
    if group_id not in turn.state.sessions:
        for offered in sends.offers[-1:]:
            sessions.publish(turn, group_id, Offering(package=offered.package))
        return
    tell(turn, group_id, accept=True)
    late = {who: replace(each, sent=False, tries=0) for who, each in sends.called.items() if not each.came}
    if late:
        sessions.put(turn, group_id, called=sends.called.update(late))
        turn.due(Duty.TEND, group_id, turn.now)


# ---------------------------------------------------------------- our other devices


def tell(turn: Turn, group_id: GroupId, *, accept: bool) -> None:
    """Tell our other devices of a conversation, so that they ask to be let in too."""
    from vcd.core import devices, siblings

    if len(ranks.devices(turn)) > 1:
        sends = sessions.sends_of(turn, group_id)
        told = siblings.SendsTold(
            group_id=group_id, by=sends.by, topic=sends.topics[0], number=sends.number, accept=accept
        )
        devices.tell(turn, told)


def tell_name(turn: Turn, group_id: GroupId, name: MlsGroupId) -> None:
    """Tell them which send group this device has, so that the app can say who spoke."""
    from vcd.core import devices, siblings

    if len(ranks.devices(turn)) > 1:
        devices.tell(turn, siblings.SendsNamed(group_id=group_id, name=name))
