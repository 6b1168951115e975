"""QR codes on a terminal, for what is to be read by another device's camera."""

from __future__ import annotations

import io

_MOST = 1000
"""Characters: with more, no camera reads it from a screen."""


def drawn(text: str) -> str:
    """In half blocks, dark on light as cameras like it; nothing, if it would be too dense."""
    import segno

    if len(text) > _MOST:
        return ""
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, compact=True, border=2)
    return out.getvalue()
