"""The mesh on a real network: `open.open_mesh` on sockets, `mesh.LiveMesh` over any `Network`.

Import from the rooms; this package loads nothing by itself, so that `mesh` can be had without libp2p.
"""
