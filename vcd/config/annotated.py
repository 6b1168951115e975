"""The vcd.toml that ships with vcd: every key with its default, commented out, and above it what it is for.

Commented out, so that whoever copies the file still gets later versions' defaults for what was left alone. Lines of
values begin with `#` and the key; sentences begin with `# `. `uncommented` turns the values into settings.
"""

from __future__ import annotations

import re

from vcd.config.model import KEYS, SECTIONS, VERSION, Config

HEAD = f"""\
#:schema ./vcd.schema.json
# Settings of vcd. Every key stands here with its default, behind a #: remove the # to set it.
# Copy this to ~/.config/vcd/vcd.toml (for one user) or /etc/vcd/vcd.toml (for all users of the machine).
#
# What goes before what: a flag, then VCD_SECTION_KEY in the environment (VCD_NETWORK_LISTEN=/ip4/0.0.0.0/tcp/4001),
# the user's file, /etc/vcd/vcd.toml, the profile, the default. vcd config show --origin says what came from where,
# vcd config check finds what is wrong, and systemctl --user reload vcd takes up what may change while vcd runs.
#
# Times: "500 ms", "5 s", "5 min", "1 h 30 min", "30 d", "2 w", or a whole number of seconds.
# Sizes: "64 KiB", "1 MiB", "2 GiB", "1 GB", or a whole number of bytes.
# vcd never writes to this file, and no secret belongs into it.

# Of this format; has to be here.
version = {VERSION}
"""


def annotated() -> str:
    parts = [HEAD, _key("profile", Config().profile)]
    for section, made in SECTIONS.items():
        words = " ".join(str(made.__doc__).split())
        parts.append(f"\n\n# {words}\n[{section}]\n")
        values = made()
        parts += [
            _key(name, getattr(values, name.partition(".")[2])) for name in KEYS if name.startswith(f"{section}.")
        ]
    return "".join(parts)


def _key(name: str, default: object) -> str:
    known = KEYS[name]
    lines = known.words.split("\n")
    may = known.kind.words()
    if may and may not in known.words:
        lines.append(f"{may[0].upper()}{may[1:]}.")
    if not known.live:
        lines.append("Takes effect after a restart.")
    comment = "".join(f"# {line}\n" for line in lines)
    return f"\n{comment}#{name.rpartition('.')[2]} = {known.kind.show(default)}\n"


def uncommented(text: str) -> str:
    """The same file with every key set."""
    return re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
