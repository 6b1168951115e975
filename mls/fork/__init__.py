"""DMLS (draft-kohbrok-mls-dmls-01): groups in which commits may fork, and healing costs little forward secrecy.

Where nobody orders commits, two of them may end one epoch, and whoever has followed the first must be able to follow
the second. Plain MLS can do that only by keeping the init secret, which opens every child of the epoch, the one
followed included. A DMLS group has no init secret: each child's comes out of a puncturable tree, at a point that
follows from the commit, and is gone from the tree afterwards. What is left leads to every other child.

The rooms follow the draft: `schedule` §4 and §5, `message` §3, `retention` §6 (what is deleted when). `mode` is what
the protocol's rooms ask about such a group, and `founding` how one is made and joined, which the draft leaves open.
Creating, joining, committing and receiving stay those of `mls.group`: a DMLS group is a group with a marker in it.
docs/fork.md is for those who build on it; docs/spec-notes.md settles what the draft does not say.
"""
