"""Domains of the nodes that the frontend makes on its way; no file may use them."""

from __future__ import annotations

FLOW = "edgec.flow"  # control flow whose bodies are whole graphs, see flow.py
COUNTED = "edgec.counted"  # results of which only the first entries are meant, see counted.py
PROGRAMS = "edgec.programs"  # operators with tensor programs of our own, see programs.py
EXPANDED = "edgec.expanded"  # functions that nodes are turned into on their way to being inlined
