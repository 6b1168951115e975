"""The picture as a page that can be sent to somebody: one file, nothing loaded, no script."""

from __future__ import annotations

from vcd.cli.pictures.layout import Picture
from vcd.cli.pictures.svg import escaped, svg

_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 0; font: 14px system-ui, sans-serif; color-scheme: light dark }} p {{ margin: 1em 24px }}</style>
</head>
<body>
"""
_TAIL = """\
<p>Each box is an epoch, and time goes down. The blue line leads to where this device stands; green is what nothing can
undo; dashed is void; gray has no keys here any more. Point at a box for all that is known of it.</p>
</body>
</html>
"""


def page(picture: Picture) -> str:
    return _HEAD.format(title=escaped(picture.title)) + svg(picture) + _TAIL
