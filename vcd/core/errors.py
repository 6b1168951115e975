"""What can be wrong with what the node is given. What comes from others is one of the first two and changes nothing."""

from __future__ import annotations


class NodeError(Exception):
    """Something in the node refused to go on."""


class Malformed(NodeError):
    """Bytes that are not what they should be."""


class Refused(NodeError):
    """Bytes that are well formed and break a rule. `rule` is one of the names that docs/node-reference.md lists."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail else rule)
        self.rule = rule


class Misuse(NodeError):
    """The local program asked for what cannot be. `code` is stable; the text is for people."""

    def __init__(self, code: str, text: str, *, rule: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.rule = rule
        """Where it gave on what others made: which rule that breaks."""
