"""What happened, as one page that needs nothing else: for each scenario a line for each node, from left to right.

A line shows, by the node's own log of events: what it was told (a dot for each message), epochs (a tick; colors are
epochs, so lines that stand the same have the same color), forks and heals, and as bars what was done to it: stopped,
paused, cut off, in bad weather. Below are all happenings in words, how nodes stood in the end, and memory over time.

The page is HTML that is XML too. It loads nothing, runs no script, and works on paper.
"""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tests.docker.story import EVERYBODY, Happening, Story

WIDTH, LEFT, RIGHT, ROW, TOP = 1160, 120, 20, 34, 26
DOTS = 40
"""Messages on a line that are shown with their words."""
EPOCH_EVENTS = {"chat.changed", "account.changed"}
FORKS = {"chat.forked", "account.forked", "chat.split", "account.split"}
HEALS = {"chat.healed", "account.healed"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { margin: 2.2em 0 .2em; font-size: 1.2em } p.about { margin: .2em 0 .8em; color: #444 }
svg { width: 100%; height: auto; background: #fbfbf9; border: 1px solid #ddd }
svg text { font: 12px system-ui, sans-serif } .small { fill: #666; font-size: 10px }
.fine { color: #17692e } .wrong { color: #b00020 } pre { white-space: pre-wrap; background: #fff0f0; padding: .6em }
table { border-collapse: collapse; font-size: 13px } td, th { padding: .15em .8em .15em 0; text-align: left;
  vertical-align: top } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
details { margin: .5em 0 } summary { cursor: pointer } .legend span { margin-right: 1.2em; white-space: nowrap }
.legend svg { width: 1.2em; height: 1em; border: 0; background: none; vertical-align: -.1em }
.fault { color: #9a5b00 } .say { color: #777 }
"""
MARKS = {
    "heard": '<circle cx="8" cy="8" r="2.4" fill="#3b6ea8"/>',
    "epoch": '<rect x="6" y="1" width="4" height="14" fill="#2a9d8f"/>',
    "fork": '<path d="M8 1 L14 14 L2 14 Z" fill="#c0392b"/>',
    "heal": '<path d="M8 15 L14 2 L2 2 Z" fill="#17692e"/>',
    "off": '<rect x="1" y="3" width="14" height="10" fill="#888"/>',
    "cut": '<rect x="1" y="3" width="14" height="10" fill="#e8b26a"/>',
    "rough": '<rect x="1" y="3" width="14" height="10" fill="#a9c4e4"/>',
}
LEGEND = (
    ("heard", "hears a message"),
    ("epoch", "an epoch with other members; one color is one epoch"),
    ("fork", "sees branches, or a split"),
    ("heal", "sees one branch again"),
    ("off", "does not run, or is paused"),
    ("cut", "is cut off from others"),
    ("rough", "bad weather, full disk, wrong clock and the like"),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that lasts."""

    start: float
    end: float
    kind: str
    text: str


def page(stories: Sequence[Story], *, title: str = "Many machines, under faults") -> str:
    wrong = [story for story in stories if story.outcome]
    outcome = f"{len(stories) - len(wrong)} of {len(stories)} scenarios are as they should be"
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    legend = "".join(
        f'<span><svg viewBox="0 0 16 16" xmlns="http://www.w3.org/2000/svg">{MARKS[mark]}</svg> {escape(words)}</span>'
        for mark, words in LEGEND
    )
    return f"""<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head><meta charset="utf-8"/><title>{escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p class="{"wrong" if wrong else "fine"}">{escape(outcome)}.</p>
<p>Real daemons, each with an address of its own, on {escape(platform.system())} {escape(platform.machine())},
Python {escape(platform.python_version())}, {when}. After each scenario the same is checked: each message exactly once
at each device that is to have it, one epoch and one membership in each chat, removed devices locked out, no line above
a warning in any log, memory flat.</p>
<p class="legend">{legend}</p>
{_summary(stories)}
{"".join(_scenario(story, number) for number, story in enumerate(stories))}
</body>
</html>
"""


def _summary(stories: Sequence[Story]) -> str:
    rows = "".join(
        f'<tr><td><a href="#s{number}">{escape(story.scenario)}</a></td><td>{escape(story.ring)}</td>'
        f'<td class="{"wrong" if story.outcome else "fine"}">{"wrong" if story.outcome else "fine"}</td>'
        f'<td class="number">{story.ended:.0f}</td><td>{escape(_figures(story))}</td></tr>'
        for number, story in enumerate(stories)
    )
    head = '<tr><th>scenario</th><th>ring</th><th></th><th class="number">seconds</th><th>figures</th></tr>'
    return f"<table>{head}{rows}</table>"


def _figures(story: Story) -> str:
    shown = {
        name: f"{value / 1e6:.0f} MB" if name == "largest" else str(value) for name, value in story.figures.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _scenario(story: Story, number: int) -> str:
    about = next((each.text for each in story.happened if each.kind == "about"), "")
    outcome = f'<pre class="wrong">{_clean(story.outcome)}</pre>' if story.outcome else ""
    return f"""<h2 id="s{number}">{escape(story.scenario)}, {escape(story.ring)}:
<span class="{"wrong" if story.outcome else "fine"}">{"wrong" if story.outcome else "fine"}</span></h2>
<p class="about">{_clean(about)}</p>
{outcome}
{_timeline(story)}
<details><summary>What happened, in words</summary>{_words(story)}</details>
<details><summary>How they stood in the end</summary>{_stands(story)}</details>
<details><summary>Memory</summary>{_memory(story)}</details>
"""


def _clean(text: str) -> str:
    """For XML: without characters that cannot stand there."""
    return escape("".join(each if each in "\n\t" or each.isprintable() else "?" for each in text))


# ---------------------------------------------------------------- the timeline


def told(story: Story, node: str) -> list[Happening]:
    """A node's own events, by the story's clock. One whose clock is off was told so, which is taken out again."""
    found = []
    for event in story.stands.get(node, {}).get("events", ()):
        at = event["at"] / 1000 - story.wall - _off(story, node, event["at"])
        found.append(Happening(at, node, event["type"], "", event["data"], event["chat"]))
    return found


def _off(story: Story, node: str, at: int) -> float:
    """Seconds by which a clock was off when it said this, of those that it was ever set to."""
    offers: set[float] = {
        0.0,
        *(each.data["off"] for each in story.happened if each.node == node and "off" in each.data),
    }
    length = max(story.ended, 1.0)
    moment = at / 1000 - story.wall

    def outside(off: float) -> float:
        """Seconds by which it would have been said before the beginning, or after the end."""
        return max(0.0, off - moment, moment - off - length)

    return min(offers, key=outside)


def bars(story: Story, node: str) -> list[Bar]:
    """What was done to it, from when to when: a fault lasts until something of the same kind is mended."""
    open_at: dict[str, Happening] = {}
    found: list[Bar] = []
    for each in story.happened:
        if each.node != node or each.kind not in {"fault", "mended"}:
            continue
        kind = _kind(each.text)
        began = open_at.pop(kind, None)
        if began is not None:
            found.append(Bar(began.at, each.at, kind, began.text))
        if each.kind == "fault":
            open_at[kind] = each
    found += [Bar(began.at, story.ended, kind, began.text) for kind, began in open_at.items()]
    return found


def _kind(text: str) -> str:
    if text.startswith(("stopped", "killed", "started", "paused", "resumed")):
        return "off"
    if "cut" in text:
        return "cut"
    if "removed" in text:
        return "removed"
    for kind in ("disk", "clock", "weather"):
        if kind in text:
            return kind
    return "weather" if "packets" in text else "other"


def color(epoch: bytes) -> str:
    """Of an epoch: the same everywhere."""
    number = int.from_bytes(hashlib.sha256(epoch).digest()[:2])
    return f"hsl({number % 360}, 60%, 42%)"


def _timeline(story: Story) -> str:
    nodes = list(dict.fromkeys(each.node for each in story.happened if each.node != EVERYBODY))
    length = max(story.ended, 1.0)
    height = TOP + ROW * len(nodes) + 24

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(at / length, 0.0), 1.0), 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">']
    step = next(each for each in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600) if length / each <= 16 or each == 3600)
    for at in range(0, int(length) + 1, step):
        parts.append(f'<line x1="{x(at)}" y1="{TOP - 6}" x2="{x(at)}" y2="{height - 20}" stroke="#e6e6e0"/>')
        parts.append(f'<text class="small" x="{x(at)}" y="{height - 6}" text-anchor="middle">{at} s</text>')
    for each in story.happened:
        if each.node == EVERYBODY and each.kind == "step":
            tip = f"<title>{_clean(each.text)}</title>"
            parts.append(f'<circle cx="{x(each.at)}" cy="{TOP - 12}" r="3" fill="#555">{tip}</circle>')
    for number, node in enumerate(nodes):
        middle = TOP + ROW * number + ROW // 2
        parts.append(f'<text x="8" y="{middle + 4}">{_clean(node)}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{middle}" x2="{WIDTH - RIGHT}" y2="{middle}" stroke="#bbb"/>')
        parts += _line(story, node, middle, x)
    parts.append("</svg>")
    return "\n".join(parts)


def _line(story: Story, node: str, middle: int, x: Any) -> Iterator[str]:
    fills = {"off": "#888", "cut": "#e8b26a", "removed": "#e3a0a0"}
    for bar in bars(story, node):
        left, right = x(bar.start), x(bar.end)
        top, tall = (middle - 6, 12) if bar.kind == "off" else (middle + 7, 5)
        yield (
            f'<rect x="{left}" y="{top}" width="{max(2.0, round(right - left, 1))}" height="{tall}" opacity="0.75" '
            f'fill="{fills.get(bar.kind, "#a9c4e4")}"><title>{_clean(f"{bar.start:.1f} s: {bar.text}")}</title></rect>'
        )
    news = told(story, node)
    yield from _dots([each for each in news if each.kind == "msg.received"], middle, x)
    for each in news:
        at, tip = x(each.at), f"{each.at:.1f} s"
        if each.kind in EPOCH_EVENTS:
            epoch = each.data.get("epoch") or each.data.get("account") or b""
            yield (
                f'<rect x="{at - 2}" y="{middle - 14}" width="4" height="13" fill="{color(epoch)}">'
                f"<title>{tip}: {each.kind} {epoch.hex()[:12]}</title></rect>"
            )
        elif each.kind in FORKS | HEALS:
            over = each.kind in HEALS or bool(each.data.get("over"))
            path = f"M{at} {middle - 4} l5 -9 l-10 0 Z" if over else f"M{at} {middle - 13} l5 9 l-10 0 Z"
            fill = "#17692e" if over else "#c0392b"
            yield f'<path d="{path}" fill="{fill}"><title>{tip}: {each.kind}{" is over" if over else ""}</title></path>'


def _dots(heard: Sequence[Happening], middle: int, x: Any) -> Iterator[str]:
    """Messages: each with its words; or, of more than can be told apart, where there are any."""
    for ours, fill in ((True, "#1b3a5c"), (False, "#3b6ea8")):
        some = [each for each in heard if bool(each.data.get("ours")) is ours]
        if len(some) > DOTS:
            places = "".join(f"M{at} {middle}h0" for at in dict.fromkeys(round(x(each.at)) for each in some))
            tip = f"{len(some)} messages, from {some[0].at:.1f} to {some[-1].at:.1f} s"
            yield (
                f'<path d="{places}" stroke="{fill}" stroke-width="4.8" stroke-linecap="round">'
                f"<title>{tip}</title></path>"
            )
            continue
        for each in some:
            words = each.data["data"].decode(errors="replace")
            yield (
                f'<circle cx="{x(each.at)}" cy="{middle}" r="2.4" fill="{fill}">'
                f"<title>{each.at:.1f} s: {_clean(words)}</title></circle>"
            )


# ---------------------------------------------------------------- words and figures


def _words(story: Story) -> str:
    rows = "".join(
        f'<tr class="{each.kind}"><td class="number">{each.at:.1f}</td><td>{_clean(each.node)}</td>'
        f"<td>{_clean(each.text)}</td></tr>"
        for each in story.happened
        if each.kind != "about"
    )
    return f'<table><tr><th class="number">s</th><th>node</th><th></th></tr>{rows}</table>'


def _stands(story: Story) -> str:
    rows = []
    for node, found in story.stands.items():
        status = found.get("status", {})
        problems = ", ".join(each["code"] for each in found.get("problems", ()))
        heard = sum(event["type"] == "msg.received" for event in found.get("events", ()))
        chats = "; ".join(
            f"{each['title'] or 'a chat'}: {each['standing']}, epoch {each['number']} "
            f"{(each['epoch'] or b'').hex()[:8]}, {len(each['members'])} members, {each['branches']} branches"
            for each in found.get("chats", ())
        )
        rows.append(
            f"<tr><td>{_clean(node)}</td><td>{_clean(str(status.get('state', 'does not run')))}</td>"
            f'<td class="number">{status.get("peers", "")}</td><td class="number">{heard}</td>'
            f"<td>{_clean(chats)}</td><td>{_clean(problems)}</td></tr>"
        )
    head = (
        '<tr><th>node</th><th>state</th><th class="number">peers</th><th class="number">heard</th>'
        "<th>chats</th><th>problems</th></tr>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _memory(story: Story) -> str:
    rows = []
    for node, samples in story.memory.items():
        sizes = [size for _, _, size in samples]
        points = " ".join(
            f"{220 * at / max(story.ended, 1):.1f},{24 - 22 * size / max(sizes):.1f}" for at, _, size in samples
        )
        line = (
            '<svg viewBox="0 0 220 26" style="width:220px" xmlns="http://www.w3.org/2000/svg">'
            f'<polyline points="{points}" fill="none" stroke="#3b6ea8"/></svg>'
        )
        rows.append(
            f'<tr><td>{_clean(node)}</td><td class="number">{sizes[0] / 1e6:.0f}</td>'
            f'<td class="number">{max(sizes) / 1e6:.0f}</td><td class="number">{sizes[-1] / 1e6:.0f}</td>'
            f"<td>{line}</td></tr>"
        )
    head = (
        '<tr><th>node</th><th class="number">first, MB</th><th class="number">most</th>'
        '<th class="number">last</th><th></th></tr>'
    )
    return f"<table>{head}{''.join(rows)}</table>"
