"""All cases."""

from __future__ import annotations

from .case import Case


def collect() -> list[Case]:
    """Every case, by family.

    Raises:
        ImportError: scikit-learn is not installed. The other libraries are missed by the cases that need them.
    """
    from . import ensembles, linear, neighbours, pipelines, preprocessing, special, trees, vectors

    families = (trees, linear, vectors, neighbours, preprocessing, ensembles, pipelines, special)
    return [case for family in families for case in family.cases()]
