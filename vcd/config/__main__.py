"""`python -m vcd.config FOLDER` writes vcd.toml and vcd.schema.json there anew, from the types.

Whoever changes a key runs it on `config/`; a test fails until the committed files say what the types say.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vcd.config.annotated import annotated
from vcd.config.schema import schema_text


def write(folder: Path) -> None:
    (folder / "vcd.toml").write_text(annotated(), encoding="utf-8")
    (folder / "vcd.schema.json").write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
