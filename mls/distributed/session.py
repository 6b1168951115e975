"""draft-xue-distributed-mls-02 §4.2: a DGroup from the side of one member.

    package = offer(env, ...)                     a KeyPackage, for everybody
    sent = create(env, ..., packages)             our send group with everybody in it; sent.welcome is for them
    joined = join(session, env, welcome, ...)     the others' send groups, one by one, in any order
    sent = update(session, env)                   a fresh key for ourselves
    sent = commit(session, env)                   the same, and everybody's newest epochs taken up
    session, message = seal(session, env, data)   to everybody
    event = receive(session, env, message)        whatever any member sent

Nothing is ever refused because somebody else was faster, and no member waits for another to send. What arrives may
depend on what did not arrive yet (`mls.distributed.errors`); nothing is kept here for that.

Membership spreads: whom one owner adds or removes, every other adds or removes in its next commit. Removal is the
text's (§5); for additions it leaves the way open (docs/spec-notes.md). A removed member does not come back, and what it
says of others' membership counts no longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mls import group as front
from mls.commit import KEEP, Committed, NewLeaf, create_commit
from mls.credential import Credential
from mls.distributed.composing import admissible, compatible
from mls.distributed.errors import AwaitedError, EpochName, StrangerError
from mls.distributed.imports import Import, Reading, choose_imports, import_proposals, read_commit
from mls.distributed.mode import (
    OWNER,
    SendGroupMode,
    group_extensions,
    leaf_extension,
    marker_of,
    removals_extension,
    removals_of,
    send_group_id,
    send_group_of,
)
from mls.distributed.naming import check_name, is_known
from mls.distributed.retention import pruned, without
from mls.distributed.send_group import SendGroup, entered, leaf_epoch, moved, places_of
from mls.distributed.values import Event, Followed, Heard, Joined, Sent, Session, Settings
from mls.errors import BugError, CallerError, PastEpochError, PeerError, WrongGroupError
from mls.follow import process_commit
from mls.framing import Commit
from mls.key_package import KeyPackage, KeyPackageSecrets, create_key_package
from mls.leaf_checks import check_lifetime
from mls.leaf_node import Capabilities, Lifetime
from mls.messages import open_message
from mls.parameters import Parameters
from mls.proposals import Add, Remove
from mls.provider import Environment
from mls.registries import ContentType, Epoch, GroupId
from mls.secrets import SignaturePrivateKey
from mls.welcome import join_informed

__all__ = [
    "KEEP",
    "Event",
    "Followed",
    "Heard",
    "Joined",
    "NewLeaf",
    "Sent",
    "Session",
    "Settings",
    "commit",
    "create",
    "decline",
    "forget",
    "join",
    "offer",
    "receive",
    "seal",
    "update",
]


# INIT


def offer(
    env: Environment,
    parameters: Parameters,
    cipher_suite: int,
    dgroup_id: bytes,
    *,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    capabilities: Capabilities,
    lifetime: Lifetime,
    group_id: GroupId | None = None,
) -> KeyPackageSecrets:
    """A KeyPackage by which others add us to their send groups.

    `group_id` is that of our own send group, for who has changed its signature key since that was made.
    """
    numbers = parameters.components.numbers
    if group_id is None:
        group_id = _own_name(env, cipher_suite, dgroup_id, signature_private)
    return create_key_package(
        env,
        cipher_suite,
        credential=credential,
        signature_private=signature_private,
        capabilities=capabilities,
        lifetime=lifetime,
        leaf_extensions=(leaf_extension(numbers, group_id),),
    )


def _own_name(env: Environment, cipher_suite: int, dgroup_id: bytes, signature: SignaturePrivateKey) -> GroupId:
    suite = env.suite(cipher_suite)
    return send_group_id(suite, dgroup_id, suite.scheme.public_key(signature))


def create(
    env: Environment,
    parameters: Parameters,
    cipher_suite: int,
    dgroup_id: bytes,
    *,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    capabilities: Capabilities,
    lifetime: Lifetime,
    packages: Sequence[KeyPackage],
    settings: Settings | None = None,
) -> Sent:
    """Our send group with everybody in it (§4.2.1), at the start of a DGroup or as a newcomer.

    Only the Welcome is to be sent: nobody is in the epoch that the message ends.
    """
    if not any(isinstance(mode, SendGroupMode) for mode in parameters.modes):
        raise CallerError("the parameters do not take part in DGroups", "use mls.distributed.mode.with_send_groups")
    numbers = parameters.components.numbers
    group_id = _own_name(env, cipher_suite, dgroup_id, signature_private)
    alone = front.create(
        env,
        parameters,
        cipher_suite,
        group_id,
        credential=credential,
        signature_private=signature_private,
        capabilities=capabilities,
        lifetime=lifetime,
        leaf_extensions=(leaf_extension(numbers, group_id),),
        extensions=group_extensions(numbers, dgroup_id),
    )
    session = Session(
        parameters=parameters,
        settings=settings or Settings(),
        dgroup_id=dgroup_id,
        own=entered(alone, {group_id: OWNER}, removed=frozenset()),
        others={},
    )
    return commit(session, env, add=packages)


def join(session: Session, env: Environment, welcome: bytes, packages: Sequence[KeyPackageSecrets]) -> Joined:
    """Get into another member's send group by its Welcome.

    StrangerError if nobody has told us yet that there is such a member; AwaitedError if the Welcome depends on an epoch
    of another send group.
    """
    numbers = session.numbers
    keyed = replace(env, psks=session.known)
    welcomed = join_informed(
        keyed, session.parameters, welcome, packages, known_groups=session.forgotten.union(session.groups)
    )
    group = welcomed.group
    context = group.public.context
    if marker_of(numbers, context.dictionary).dgroup_id != session.dgroup_id:
        raise PeerError("DIMLS-4.2.1-8")
    if group.suite.cipher_suite != session.own.group.suite.cipher_suite:
        raise PeerError("DIMLS-4.2.1-9")
    places = places_of(numbers, group.members)
    if places.get(session.own.id) != group.own_leaf:
        raise PeerError("DIMLS-4.2.1-11")
    removed = removals_of(numbers, welcomed.extensions)
    if not removed.isdisjoint(places):
        raise PeerError("DIMLS-5-3")
    owner = group.group_id
    joined = entered(group, places, removed=removed)
    if not is_known(session, owner):
        raise StrangerError("the owner of the send group is not a member, as far as is known here")
    for name, index in places.items():
        check_name(session, env, name, joined.leaf(index))
    # Which epochs the owner took up before we came, as far as we have seen those.
    taken = {
        name: leaf_epoch(session.others[name], joined.leaf(places[name])) for name in places if name in session.others
    }
    following = _with_other(session, replace(joined, taken=taken))
    if owner not in session.dropped:
        following = _dropping(following, removed, EpochName(owner, context.epoch))
    news = [name for name in following.dropped if name not in session.dropped]
    return Joined(session=following, owner=owner, package=welcomed.package, removed=tuple(news))


def _dropping(session: Session, members: Iterable[GroupId], since: EpochName) -> Session:
    """These members are removed from now on, also those whom we had not added yet."""
    dropped = dict(session.dropped)
    gone = frozenset(members)
    for member in sorted(gone.difference({session.own.id})):
        before = dropped.get(member)
        # Our own word is the best witness, since we go on counting on ourselves.
        stands = before is not None and before.group_id not in dropped and since.group_id != session.own.id
        if not stands and is_known(session, member):
            dropped[member] = since
    invited = {name: package for name, package in session.invited.items() if name not in gone}
    return replace(session, dropped=dropped, invited=invited)


# UPDATE and COMMIT


def update(session: Session, env: Environment, *, leaf: NewLeaf = KEEP, authenticated_data: bytes = b"") -> Sent:
    """A fresh key for ourselves (§4.1.1.1); of others only what must be: additions and removals that wait."""
    return commit(session, env, take=False, leaf=leaf, authenticated_data=authenticated_data)


def commit(
    session: Session,
    env: Environment,
    *,
    add: Sequence[KeyPackage] = (),
    remove: Sequence[GroupId] = (),
    take: bool = True,
    leaf: NewLeaf = KEEP,
    authenticated_data: bytes = b"",
) -> Sent:
    """A fresh key for ourselves, and with `take` the newest epoch of everybody else that all members can follow."""
    own, numbers = session.own, session.numbers
    removed = _to_remove(session, remove)
    session = _dropping(session, removed, EpochName(own.id, Epoch(own.group.epoch + 1)))
    added = _to_add(session, env, add)
    fixed: list[Remove | Add] = [*[Remove(own.places[name]) for name in removed], *map(Add, added.values())]
    invited = {name: package for name, package in session.invited.items() if name not in added}
    staying = own.members.difference(removed)
    known = session.known
    keyed = replace(env, psks=known)

    def made(newcomers: dict[GroupId, KeyPackage], imports: list[Import]) -> Committed:
        return create_commit(
            own.group,
            keyed,
            proposals=[*fixed, *map(Add, newcomers.values()), *import_proposals(env, own, imports)],
            leaf=leaf,
            authenticated_data=authenticated_data,
            group_info_extensions=(removals_extension(numbers, session.dropped),) if session.dropped else (),
            vouched=frozenset([each.kept.leaf.encoded for each in imports]),
            sending=False,  # what others have added is judged as they judged it; what we add was before
        )

    chosen = imports = choose_imports(known, own, staying.union(added, invited)) if take else []
    newcomers = invited
    try:
        committed = made(newcomers, imports)
    except PeerError:
        newcomers = admissible(session, env, fixed, invited)
        chosen = choose_imports(known, own, staying.union(added, newcomers)) if take else []
        imports = compatible(session, env, [*fixed, *map(Add, newcomers.values())], chosen)
        committed = made(newcomers, imports)
    added = {**added, **newcomers}
    taken = {each.name: None for each in imports}
    following = moved(
        own,
        committed.before,
        committed.group,
        removed=removed,
        added=dict(zip(added, committed.added, strict=True)),
        taken={name.group_id: name.epoch for name in taken},
        late_epochs=0,
    )
    waiting = {name: package for name, package in invited.items() if name not in newcomers}
    after = replace(session, own=following, invited=waiting)
    touched = [own.id, *[name.group_id for name in taken], *removed]
    return Sent(
        session=pruned(after, touched),
        message=committed.message,
        welcome=committed.welcome,
        taken=tuple(taken),
        left_out=tuple([each.name for each in chosen if each.name not in taken]),
        added=tuple(added),
        waiting=tuple(waiting),
        removed=tuple(removed),
    )


def _to_add(session: Session, env: Environment, add: Sequence[KeyPackage]) -> dict[GroupId, KeyPackage]:
    own = session.own
    added = {send_group_of(session.numbers, package.leaf_node): package for package in add}
    if len(added) < len(add) or not own.members.union(session.dropped).isdisjoint(added):
        raise CallerError("who is to be added is or was a member", "removed members come back in a new DGroup only")
    for name, package in added.items():
        check_lifetime(env, session.parameters, package.leaf_node, sending=True)
        if own.group.epoch:  # as it is created there is nobody yet who could have told us
            check_name(session, env, name, package.leaf_node)
    return added


def _to_remove(session: Session, remove: Sequence[GroupId]) -> list[GroupId]:
    own = session.own
    for name in remove:
        if name not in own.members or name == own.id:
            raise CallerError("who is to be removed is no other member", "look at session.own.places")
    wanted = {*remove, *session.dropped}
    return [name for name in own.places if name in wanted]


def decline(session: Session, member: GroupId) -> Session:
    """Do not add a newcomer whom somebody else added."""
    invited = {name: package for name, package in session.invited.items() if name != member}
    return replace(session, invited=invited)


def forget(session: Session, member: GroupId) -> Session:
    """Follow a removed member no further, and keep nothing for its sake (§5).

    Whoever has not heard of the removal, and takes up another epoch of that member, is lost to us then. Without this
    call, a removed member is forgotten when that can happen no more.
    """
    if member not in session.dropped:
        raise CallerError("the member was not removed", "commit the removal first")
    following = without(session, {member})
    return pruned(following, following.groups)


# PROTECT and UNPROTECT


def seal(session: Session, env: Environment, data: bytes, *, authenticated_data: bytes = b"") -> tuple[Session, bytes]:
    """An application message to everybody in our send group (§4.2.4)."""
    group, message = front.seal(session.own.group, env, data, authenticated_data=authenticated_data)
    return replace(session, own=replace(session.own, group=group)), message


def receive(session: Session, env: Environment, message: bytes) -> Event:
    """Whatever any member sent to its send group (§4.2.5).

    AwaitedError says which epochs must be entered first. GroupEndedError comes from a member who has removed us.
    """
    outside = front.peek(message)
    if outside.group_id is None or outside.epoch is None or outside.group_id == session.own.id:
        open_message(session.own.group, message, shared_leaf=False)
        raise BugError("what nobody may send to us was not refused")
    name = EpochName(outside.group_id, outside.epoch)
    followed = session.others.get(name.group_id)
    if followed is None:
        if name.group_id not in session.forgotten and is_known(session, name.group_id):
            raise AwaitedError(name)
        if name.group_id in session.dropped:
            raise WrongGroupError("the message is of a member who was removed and is followed no further")
        raise StrangerError("the message is of no send group of which anybody has told us")
    if name.epoch < followed.group.epoch or followed.group.ended is not None:
        return _late(session, followed, message, name, outside.content_type)
    if name.epoch > followed.group.epoch:
        raise AwaitedError(name)
    opened = open_message(followed.group, message, shared_leaf=False)
    content = opened.verified.content
    body = content.body
    if isinstance(body, bytes):
        listening = _with_other(session, replace(followed, group=opened.group))
        return _heard(listening, name, body, content.authenticated_data)
    if not isinstance(body, Commit):
        raise PeerError("DIMLS-4.1.1-1")
    reading = read_commit(session.numbers, session.known, session.own.id, followed, body)
    dismissed = session.own.id in reading.removed
    for newcomer, package in () if dismissed else reading.added:
        check_name(session, env, newcomer, package.leaf_node)
    updates = {each.kept.leaf.encoded: each.kept.keys for each in reading.imports if each.kept.keys is not None}
    done = process_commit(
        replace(opened.group, updates=updates),
        replace(env, psks=session.known),
        opened.verified,
        vouched=frozenset([each.kept.leaf.encoded for each in reading.imports]),
    )
    after = moved(
        followed,
        done.before,
        done.group,
        removed=reading.removed,
        added=dict(zip([name for name, _ in reading.added], done.plan.added, strict=True)),
        taken={each.name.group_id: each.name.epoch for each in reading.imports},
        late_epochs=session.settings.late_epochs,
    )
    spread = _spread(_with_other(session, after), followed.id, reading)
    touched = [followed.id, *[each.name.group_id for each in reading.imports], *reading.removed]
    return Followed(
        session=pruned(spread, touched),
        owner=followed.id,
        epoch=Epoch(name.epoch + 1),
        taken=tuple([each.name for each in reading.imports]),
        added=tuple([added for added, _ in reading.added]),
        removed=reading.removed,
        dismissed=dismissed,
        authenticated_data=content.authenticated_data,
    )


def _with_other(session: Session, followed: SendGroup) -> Session:
    return replace(session, others={**session.others, followed.id: followed})


def _heard(session: Session, name: EpochName, data: bytes, authenticated_data: bytes) -> Heard:
    return Heard(
        session=session,
        owner=name.group_id,
        epoch=name.epoch,
        data=data,
        authenticated_data=authenticated_data,
        dropped=name.group_id in session.dropped,
    )


def _late(session: Session, followed: SendGroup, message: bytes, name: EpochName, content_type: int | None) -> Heard:
    """An application message of an ended epoch; commits of such an epoch were followed already."""
    if content_type == ContentType.APPLICATION:
        for at, group in enumerate(followed.retired):
            if group.epoch != name.epoch:
                continue
            opened = open_message(group, message, shared_leaf=False)
            content = opened.verified.content
            if not isinstance(content.body, bytes):
                raise BugError("an application message holds something else")
            retired = (*followed.retired[:at], opened.group, *followed.retired[at + 1 :])
            following = _with_other(session, replace(followed, retired=retired))
            return _heard(following, name, content.body, content.authenticated_data)
    if name.epoch >= followed.group.epoch:
        followed.group.require_active()
    raise PastEpochError(f"epoch {name.epoch} of the send group is over; this is {followed.group.epoch}")


def _spread(session: Session, owner: GroupId, reading: Reading) -> Session:
    """What one owner does to its members, the others do to theirs."""
    if owner in session.dropped or not (reading.added or reading.removed):
        return session
    session = _dropping(session, reading.removed, EpochName(owner, session.others[owner].group.epoch))
    invited = dict(session.invited)
    for name, package in reading.added:
        wanted = name not in session.own.members and name not in session.dropped and name not in invited
        if wanted and len(invited) < session.settings.max_invited:
            invited[name] = package
    return replace(session, invited=invited)
