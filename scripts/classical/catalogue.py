"""All cases."""

from __future__ import annotations

from . import ensembles, linear, neighbours, pipelines, preprocessing, special, trees, vectors
from .case import Case


def collect() -> list[Case]:
    """Every case, by family."""
    families = (trees, linear, vectors, neighbours, preprocessing, ensembles, pipelines, special)
    return [case for family in families for case in family.cases()]
