"""pair.*: what people do to let a new device into their account. See `vcd.daemon.pairing`.

Handlers take the pairing itself, whoever calls, and parameters as the table's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.daemon.pairing import BadName, Busy, HasAccount, NobodyToAsk, NotTheSame, Pairing, Unknown
from vcd.daemon.shelf import told
from vcd.pairing.code import WrongCode
from vcd.pairing.existing import Existing
from vcd.pairing.kept import Either
from vcd.pairing.values import NotNow, Step
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import device

_NOWHERE: Mapping[str, str] = {
    "words": "A short code finds the other device in the local network only. This device does not look there"
    " (network.mdns), or is in none.",
    "uri": "That code has no address in it, as the other device listens nowhere (network.listen).",
}


def shown(found: Either) -> device.Pairing:
    waits = isinstance(found, Existing) and found.step is Step.WAITING and found.channel is None
    words = found.words if isinstance(found, Existing) and waits else None
    return device.Pairing(
        **told(found),
        code="" if words is None else str(words),
        uri=str(found.uri) if isinstance(found, Existing) and waits else "",
        expires_at=found.expires,
    )


async def start(pairing: Pairing, call: Call, given: device.PairStart) -> device.PairOffer:
    del call
    try:
        offer = await pairing.start(given.expires_ms)
    except Busy as busy:
        raise Failure("E_PAIR_BUSY", data={"pair": busy.pair}) from None
    words = "" if offer.words is None else str(offer.words)
    return device.PairOffer(pair=offer.pair, code=words, uri=str(offer.uri), expires_at=offer.expires)


async def join(pairing: Pairing, call: Call, given: device.PairJoin) -> device.Pairing:
    del call
    try:
        return shown(await pairing.join(given.code, given.device_name))
    except WrongCode as error:
        raise Failure("E_PAIR_CODE", str(error), data={"given": error.given} if error.given else None) from None
    except NobodyToAsk as error:
        raise Failure("E_PAIR_CODE", _NOWHERE[error.given], data={"given": error.given}) from None
    except HasAccount:
        raise Failure("E_ACCOUNT_EXISTS") from None
    except BadName as error:
        raise Failure("E_NAME", str(error)) from None
    except Busy as busy:
        raise Failure("E_PAIR_BUSY", data={"pair": busy.pair}) from None


async def confirm(pairing: Pairing, call: Call, given: device.PairConfirm) -> device.Pairing:
    del call
    try:
        return shown(await pairing.confirm(given.pair, given.check, given.name))
    except Unknown:
        raise Failure("E_PAIR_UNKNOWN") from None
    except NotTheSame:
        raise Failure("E_PAIR_CHECK") from None
    except BadName as error:
        raise Failure("E_NAME", str(error)) from None
    except NotNow:
        raise Failure("E_PAIR_STEP", data={"step": pairing.find(given.pair).step.value}) from None


async def get(pairing: Pairing, call: Call, given: device.PairGet) -> device.Pairing:
    del call
    step = None if given.step is None else Step(given.step)
    try:
        return shown(await pairing.wait(given.pair, step, given.wait_ms))
    except Unknown:
        raise Failure("E_PAIR_UNKNOWN") from None


async def cancel(pairing: Pairing, call: Call, given: device.PairCancel) -> device.Pairing:
    del call
    try:
        return shown(await pairing.cancel(given.pair))
    except Unknown:
        raise Failure("E_PAIR_UNKNOWN") from None


HANDLERS: Mapping[str, Any] = {
    "pair.start": start,
    "pair.join": join,
    "pair.confirm": confirm,
    "pair.get": get,
    "pair.cancel": cancel,
}
