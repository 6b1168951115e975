"""What tests of an account's devices do again and again: devices are linked and removed, and looked at."""

from __future__ import annotations

from hashlib import sha256

from mls.key_package import KeyPackageSecrets
from mls.state import Group
from tests.vcd.core.village import Village
from vcd.core import effects, events, founding, inputs, linking, listing
from vcd.core.accounts.device_list import Policy
from vcd.core.accounts.identity import RecoverySeed, RootKey, root_key
from vcd.core.names import DeviceId, GroupId, IntentId
from vcd.core.state import State
from vcd.core.strand import Kept, Strand

TEA = GroupId(b"tea" + bytes(13))


def device(village: Village, name: str) -> DeviceId:
    return village.state(name).me.device


def home(village: Village, name: str) -> Strand:
    state = village.state(name)
    assert state.home is not None
    return state.strands[state.home]


def here(village: Village, name: str) -> Kept:
    found = home(village, name).here
    assert found is not None
    return found


def tea(village: Village, name: str, group_id: GroupId = TEA) -> Group:
    """The conversation, where it stands."""
    found = village.state(name).strands[group_id].here
    assert found is not None
    return found.group


def devices_of(village: Village, name: str) -> set[DeviceId]:
    strand = home(village, name)
    return {DeviceId(each.account) for each in strand.graph.members(strand.head)}


def blank(village: Village, by: str, name: str) -> KeyPackageSecrets:
    """A new device that people have identified: it has a credential by that delegate."""
    provider = village.world(name)
    state = founding.blank(provider, name, village.config)
    key = founding.device_key(provider, state)
    credential = linking.credential_for(village.state(by), village.devices[by].provider, state.me.device, key)
    package = founding.package_for(provider, state, credential, village.now)
    village.move_in(name, provider, state)
    return package


def ask(village: Village, by: str, name: str, package: KeyPackageSecrets) -> None:
    """The delegate is asked to let it in."""
    village.do(
        by,
        inputs.LinkDevice(
            intent=IntentId(sha256(name.encode()).digest()[:16]),
            device=device(village, name),
            name=name,
            package=package.key_package,
        ),
    )


def handed(village: Village, by: str, name: str) -> list[bytes]:
    """What was handed over to it so far."""
    mine = device(village, name)
    found = [each for each in village.devices[by].effects if isinstance(each, effects.HandOver)]
    return [each.welcome for each in found if each.device == mine]


def take_up(village: Village, by: str, name: str, package: KeyPackageSecrets) -> None:
    village.do(name, inputs.Linked(welcome=handed(village, by, name)[-1], packages=(package,)))


def link(village: Village, by: str, name: str) -> str:
    """From a blank device to one that can do everything."""
    package = blank(village, by, name)
    ask(village, by, name, package)
    for _ in range(30):
        if handed(village, by, name):
            break
        village.wait(seconds=5)
    take_up(village, by, name, package)
    village.wait(minutes=2)
    return name


def couple(village: Village) -> tuple[str, str]:
    """An account of two devices, with a conversation of one."""
    village.account("laptop")
    village.do("laptop", inputs.Open(conversation=TEA))
    village.wait(minutes=1)
    return "laptop", link(village, "laptop", "phone")


def trio(village: Village) -> tuple[str, str, str]:
    return (*couple(village), link(village, "laptop", "tablet"))


PHRASE = RecoverySeed(b"s" * 32)


def delegates(village: Village, first: str, *others: str) -> None:
    """An account whose devices all are delegates, with its recovery phrase at hand (`PHRASE`)."""
    provider = village.world(first)
    village.move_in(first, provider, founding.new_account(provider, PHRASE, first, village.now, village.config))
    for name in others:
        link(village, first, name)
    appoint(village, first, first, *others)
    village.wait(minutes=5)


def appoint(village: Village, by: str, *names: str) -> IntentId:
    """With the recovery phrase: these are delegates from now on."""
    intent = IntentId(sha256(b"appoint" + "".join((by, *names)).encode()).digest()[:16])
    several = tuple(sorted(device(village, name) for name in names))
    village.do(by, inputs.SetRules(intent=intent, root=root(village, by), delegates=several, rules=Policy()))
    return intent


def root(village: Village, name: str) -> RootKey:
    found, _ = root_key(village.devices[name].provider.suite(1), PHRASE)
    return found


def remove(village: Village, by: str, name: str) -> IntentId:
    intent = IntentId(b"remove " + device(village, name))
    village.do(by, inputs.RemoveDevice(intent=intent, device=device(village, name)))
    return intent


def fates(village: Village, name: str, intent: IntentId) -> list[bool]:
    return [each.stands for each in village.told(name, events.IntentFate) if each.intent == intent]


def listed(village: Village, name: str) -> set[DeviceId]:
    """Who is on the list where the home stands."""
    return {each.device for each in listing.of_group(here(village, name).group).devices.devices}


def say(village: Village, name: str, data: bytes, group_id: GroupId = TEA) -> None:
    nonce = sha256(name.encode() + data).digest()[:16]
    village.do(name, inputs.Say(conversation=group_id, nonce=nonce, data=data))


def restore(village: Village, name: str, state: State) -> None:
    """Up again with an old disk: what was heard since is in the logs, and is heard again."""
    village.devices[name].has = set()
    village.restart(name, founding.restored(state))


def refresh_home(village: Village, name: str, number: int) -> None:
    village.do(
        name,
        inputs.Refresh(
            intent=IntentId(b"refresh" + name.encode() + bytes([number])), conversation=home(village, name).group_id
        ),
    )
