"""Counters and gauges as Prometheus text. They name nobody: no account, no chat, no peer is a label.

The lines are few and their form is simple, so they are written here and not by a library that keeps global state.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator, Mapping

from vcd.daemon.house import House

STATES = ("starting", "migrating", "locked", "ready", "stopping")


Values = list[tuple[Mapping[str, str], float]]
Family = tuple[str, str, str, Values]
"""Its name, its kind, what it is about, and its values by their labels."""


def text(house: House) -> str:
    return written(_families(house))


def written(families: Iterable[Family]) -> str:
    lines: list[str] = []
    for name, kind, about, values in families:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in values]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return "{" + inner + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _families(house: House) -> Iterator[Family]:
    states: Values = [({"state": each}, float(house.info.state == each)) for each in STATES]
    yield "vcd_state", "gauge", "Which state the daemon is in.", states
    yield "vcd_start_time_seconds", "gauge", "When it was started.", [({}, house.started_at / 1000)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield "vcd_memory_peak_bytes", "gauge", "The most memory that it had.", [({}, peak)]
    problems: Values = [
        ({"severity": severity}, sum(each.trouble.severity == severity for each in house.watch.ordered()))
        for severity in ("error", "warning", "info")
    ]
    yield "vcd_problems", "gauge", "What health.list has.", problems
    if house.open is None:
        return
    desk, mesh = house.open.desk, house.open.mesh
    state, counts = desk.state, desk.owner.counts
    yield "vcd_steps_total", "counter", "Inputs that the node took.", [({}, counts.steps)]
    yield "vcd_step_seconds_total", "counter", "Time spent in that.", [({}, round(counts.seconds, 6))]
    yield "vcd_batches_total", "counter", "Transactions of the store.", [({}, counts.batches)]
    yield (
        "vcd_refused_total",
        "counter",
        "What others sent and was dropped, by rule.",
        [({"rule": rule}, number) for rule, number in sorted(counts.refused.items())],
    )
    yield "vcd_peers", "gauge", "Peers that are connected.", [({}, mesh.connected())]
    yield "vcd_chats", "gauge", "Chats.", [({}, len(state.talks))]
    yield "vcd_unsent", "gauge", "Frames that the mesh has not stored yet.", [({}, len(state.unsent))]
    queued = sum(len(each.queue) for each in state.talks.values())
    yield "vcd_queued", "gauge", "Messages of ours that are no frame yet.", [({}, queued)]
    yield "vcd_outbox", "gauge", "Messages of ours that may have to be said again.", [({}, len(state.outbox))]
    yield "vcd_waiting", "gauge", "Messages of others that cannot be read yet.", [({}, len(state.waiting.items))]
    yield "vcd_waiting_bytes", "gauge", "The same in bytes.", [({}, state.waiting.bytes)]
    kept = sum(len(each.kept) for each in state.strands.values())
    yield "vcd_epochs_kept", "gauge", "Epochs whose keys are kept.", [({}, kept)]
    steps = sum(len(each.graph.steps) for each in state.strands.values())
    yield "vcd_epochs_unfinal", "gauge", "Epochs since the last final ones.", [({}, steps)]
    yield "vcd_event_last", "counter", "Number of the newest event.", [({}, desk.store.journal.last)]
    counters: Values = [({"what": name}, number) for name, number in sorted(mesh.counters().items())]
    yield "vcd_mesh_total", "counter", "What happened in the mesh.", counters
