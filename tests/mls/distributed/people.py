"""A DGroup in one place: every member's session by name, and a wire on which messages arrive in any order.

`Wire` keeps what was sent until it is delivered. What a member cannot read yet (`AwaitedError`, `StrangerError`) waits
at that member and is tried again whenever it could read something else, as a program around the sessions would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mls.distributed import session as front, stored
from mls.distributed.errors import AwaitedError, LostEpochError, StrangerError
from mls.distributed.mode import send_group_capabilities, send_group_id, with_send_groups
from mls.distributed.values import Event, Followed, Heard, Sent, Session, Settings
from mls.errors import GroupEndedError, PastEpochError, ReplayError, WrongGroupError
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import Capabilities
from mls.parameters import Parameters
from mls.provider import Environment
from mls.registries import GroupId
from mls.suite import Suite
from tests.mls.clients import LIFETIME, Client, client, default_in, environment

DGROUP = b"the whole"
PARAMETERS = with_send_groups(Parameters())
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")


def person(name: str, cipher_suite: int = 1) -> Client:
    suites = default_in(cipher_suite).cipher_suites
    able: Capabilities = send_group_capabilities(suites)
    return client(name, cipher_suite, capabilities=able, parameters=PARAMETERS)


_MEMBERS: dict[GroupId, str] = {}


def group_id(name: str, cipher_suite: int = 1, dgroup_id: bytes = DGROUP) -> GroupId:
    suite = Suite(cipher_suite)
    made = send_group_id(suite, dgroup_id, suite.scheme.public_key(person(name, cipher_suite).signer))
    _MEMBERS[made] = name
    return made


def name_of(owner: GroupId) -> str:
    """Of somebody for whom `group_id` was asked."""
    return _MEMBERS[owner]


def identity(who: Client) -> dict[str, Any]:
    return {
        "credential": who.credential,
        "signature_private": who.signer,
        "capabilities": who.capabilities,
        "lifetime": LIFETIME,
    }


def offer(env: Environment, name: str, cipher_suite: int = 1) -> KeyPackageSecrets:
    group_id(name, cipher_suite)
    return front.offer(env, PARAMETERS, cipher_suite, DGROUP, **identity(person(name, cipher_suite)))


def create(
    env: Environment,
    name: str,
    packages: Sequence[KeyPackageSecrets],
    *,
    cipher_suite: int = 1,
    dgroup_id: bytes = DGROUP,
    settings: Settings | None = None,
) -> Sent:
    who = person(name, cipher_suite)
    return front.create(
        env,
        PARAMETERS,
        cipher_suite,
        dgroup_id,
        **identity(who),
        packages=[each.key_package for each in packages],
        settings=settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Something on its way to one member."""

    to: str
    message: bytes
    welcome: bool = False


@dataclass(slots=True)
class Member:
    """One member with what waits for it and what it has heard."""

    session: Session
    packages: list[KeyPackageSecrets]
    waiting: list[Parcel] = field(default_factory=list)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Wire:
    """Members, and what is on its way between them."""

    def __init__(self, env: Environment, settings: Settings | None = None) -> None:
        self.env = env
        self.settings = settings
        self.members: dict[str, Member] = {}
        self.parcels: list[Parcel] = []

    def __getitem__(self, name: str) -> Session:
        return self.members[name].session

    def copy(self) -> Wire:
        """Sessions are values, so this is cheap; what was on its way is on its way in both."""
        twin = Wire(self.env, self.settings)
        twin.parcels = list(self.parcels)
        twin.members = {
            name: Member(each.session, list(each.packages), list(each.waiting), list(each.heard), list(each.events))
            for name, each in self.members.items()
        }
        return twin

    def enter(self, name: str, packages: Sequence[KeyPackageSecrets], own: Sequence[KeyPackageSecrets]) -> Sent:
        """A member creates its send group; the Welcomes are on their way."""
        sent = create(self.env, name, packages, settings=self.settings)
        self.members[name] = Member(sent.session, list(own))
        if sent.welcome is not None:
            for added in sent.added:
                self.parcels.append(Parcel(to=name_of(added), message=sent.welcome, welcome=True))
        return sent

    def post(self, by: str, message: bytes, to: Sequence[str]) -> None:
        self.parcels.extend([Parcel(to=name, message=message) for name in to if name != by])

    def commit(self, by: str, **options: Any) -> Sent:
        before = self[by]
        sent = front.commit(before, self.env, **options)
        self.members[by].session = sent.session
        self.post(by, sent.message, [name_of(name) for name in before.own.places])
        for added in sent.added:
            assert sent.welcome is not None
            self.parcels.append(Parcel(to=name_of(added), message=sent.welcome, welcome=True))
        return sent

    def update(self, by: str) -> Sent:
        return self.commit(by, take=False)

    def say(self, by: str, data: bytes) -> bytes:
        session, message = front.seal(self[by], self.env, data)
        self.members[by].session = session
        self.post(by, message, [name_of(name) for name in session.own.places])
        return message

    def add(self, by: str, name: str) -> Sent:
        """One member adds somebody, who creates a send group with everybody of whom `by` knows."""
        package = offer(self.env, name)
        sent = self.commit(by, add=[package.key_package])
        fresh = []
        for present in sent.session.own.places:
            if present != group_id(name):
                fresh.append(offer(self.env, name_of(present)))
                self.members[name_of(present)].packages.append(fresh[-1])
        self.enter(name, fresh, [package])
        return sent

    def restart(self, name: str) -> None:
        """A member's session goes through its stored form."""
        member = self.members[name]
        saved = stored.encode(member.session)
        member.session = stored.decode(self.env.provider, PARAMETERS, saved, settings=member.session.settings)
        assert stored.encode(member.session) == saved

    # Delivery

    def deliver(self, parcel: Parcel) -> Event | None:
        """To a member, who reads it or keeps it for later; then whatever waited there is tried again."""
        if parcel.to not in self.members:
            return None
        member = self.members[parcel.to]
        event = self._take(member, parcel)
        progress = event is not None or parcel.welcome
        while progress:
            progress = False
            for waiting in list(member.waiting):
                member.waiting.remove(waiting)
                before = member.session
                self._take(member, waiting)
                if member.session is not before:
                    progress = True
        return event

    def _take(self, member: Member, parcel: Parcel) -> Event | None:
        try:
            if parcel.welcome:
                member.session = front.join(member.session, self.env, parcel.message, member.packages).session
                return None
            event = front.receive(member.session, self.env, parcel.message)
        except (AwaitedError, StrangerError):
            member.waiting.append(parcel)
            return None
        except (ReplayError, PastEpochError, GroupEndedError, WrongGroupError):
            return None
        except LostEpochError:  # of one who was removed: what became of it matters to nobody
            return None
        member.session = event.session
        member.events.append(event)
        if isinstance(event, Heard):
            member.heard.append((name_of(event.owner), event.data))
        return event

    def flush(self) -> None:
        """Deliver everything, in the order in which it was sent."""
        while self.parcels:
            self.deliver(self.parcels.pop(0))

    def settle(self, names: Sequence[str] | None = None) -> None:
        """Deliver, and let everybody (or these) commit until nothing is left to take up or to spread."""
        self.flush()
        for _ in range(3):
            for name in names or list(self.members):
                self.commit(name, add=self.fetch(name))
                self.flush()

    def fetch(self, name: str) -> list[KeyPackage]:
        """KeyPackages of those whom others added before this member came, as a directory would give them."""
        found = []
        for missing in self[name].missing:
            secrets = offer(self.env, name_of(missing))
            self.members[name_of(missing)].packages.append(secrets)
            found.append(secrets.key_package)
        return found

    def agree(self, names: Sequence[str] | None = None) -> None:
        """Everybody sees every send group in the same epoch with the same secrets."""
        names = names or list(self.members)
        for owner in names:
            own = self[owner].own.group
            for name in names:
                seen = self[name].groups[group_id(owner)].group
                assert seen.epoch == own.epoch
                assert seen.authenticator == own.authenticator
                assert seen.public.context.encoded == own.public.context.encoded


def wire(count: int, *, seed: object = "wire", settings: Settings | None = None) -> Wire:
    """A DGroup whose members have all joined each other's send groups."""
    made = _made(count, settings).copy()
    made.env = environment(seed)
    return made


@lru_cache(maxsize=32)
def _made(count: int, settings: Settings | None) -> Wire:
    env = environment(f"distributed {count}")
    made = Wire(env, settings)
    packages = {name: offer(env, name) for name in NAMES[:count]}
    for name, package in packages.items():
        made.enter(name, [each for each in packages.values() if each is not package], [package])
    made.flush()
    made.agree()
    return made


def followed(event: Event | None) -> Followed:
    assert isinstance(event, Followed)
    return event
