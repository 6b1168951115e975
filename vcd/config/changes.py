"""What a reload changes: which keys have another value, which of those take effect at once, which need a restart."""

from __future__ import annotations

from dataclasses import dataclass

from vcd.config.model import KEYS, SECTIONS, Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Full names of keys, in the order of the file."""

    live: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.live or self.restart)

    def words(self) -> str:
        """For people, one line."""
        if not self:
            return "nothing has changed"
        parts = []
        if self.live:
            parts.append(f"in effect now: {', '.join(self.live)}")
        if self.restart:
            parts.append(f"in effect after a restart: {', '.join(self.restart)}")
        return "; ".join(parts)


def changes(old: Config, new: Config) -> Changes:
    different = [name for name in KEYS if old.value(name) != new.value(name)]
    return Changes(
        live=tuple(name for name in different if KEYS[name].live),
        # A profile only stands for other keys, which are named themselves.
        restart=tuple(name for name in different if not KEYS[name].live and name != "profile"),
    )


def merged(old: Config, new: Config) -> Config:
    """What a daemon that reloads runs on: the new values of what can change live, the old ones of the rest."""
    from dataclasses import replace

    sections = {}
    for section in SECTIONS:
        known = [name for name in KEYS if name.startswith(f"{section}.") and KEYS[name].live]
        values = {name.rpartition(".")[2]: new.value(name) for name in known}
        sections[section] = replace(getattr(old, section), **values)
    return replace(old, **sections)
