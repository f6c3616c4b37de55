"""Which rows of an image a register tile has: how many along a line of it, and how many lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .limits import Limits
from .tile import tile_cost

# Costs, by the default's, beyond which other tiles are not tried, and below which several lines are better than one.
_WORSE, _BETTER = 1.25, 0.9
_MOST_LINES = 8

Tile = tuple[int, int]  # lines, and rows of each of them


@dataclass(frozen=True)
class Area:
    """What tiles of `width` channels cover: so many lines of so many rows.

    An element of the weights that is loaded serves all rows of a tile. Where lines are short, it takes several of them
    to make a tile that fills the registers.
    """

    lines: int
    rows: int
    width: int

    def tile(self, limits: Limits, cap: int | None = None, by_element: bool = False) -> Tile:
        """The tile with the least cost that the registers have room for, of at most `cap` rows in all."""

        def cost(tile: Tile) -> float:
            return self._cost(tile, limits, by_element)

        def tiles(lines: int) -> list[Tile]:
            """Of so many lines, the longest first."""
            longest = min(self.rows, self._most_rows(limits, cap, by_element) // lines)
            return [(lines, rows) for rows in range(longest, 0, -1)]

        one = min(tiles(1), key=cost)
        several = [tile for lines in range(2, min(self.lines, _MOST_LINES) + 1) for tile in tiles(lines)]
        best = min(several, key=cost, default=one)
        return best if cost(best) < _BETTER * cost(one) else one

    def cost(self, limits: Limits, by_element: bool = False) -> float:
        """Slots of a multiply-add that the best tile takes to cover the area, of each step of the sums."""
        return self._cost(self.tile(limits, None, by_element), limits, by_element) * self._vectors(limits)

    def whole_lines(self, rows: int, limits: Limits, cap: int | None = None, by_element: bool = False) -> int:
        """How many lines a tile best has that covers them whole, if `rows` are: as many as the registers have room for.

        The last tile may have fewer of them, so that none is computed twice.
        """
        fitting = self._most_rows(limits, cap, by_element) // rows if rows == self.rows else 1
        tiles = -(-self.lines // max(1, fitting))
        return -(-self.lines // tiles)

    def tiles_near(self, default: Tile, limits: Limits, by_element: bool = False) -> tuple[Tile, ...]:
        """Tiles that may be as fast as the default one; a little larger ones than the registers have room for too."""
        most = _WORSE * self._cost(default, limits, by_element)
        near = [
            (lines, rows)
            for lines in range(1, min(self.lines, _MOST_LINES) + 1)
            for rows in range(1, min(self.rows, limits.registers // self._vectors(limits) // lines) + 1)
            if self._cost((lines, rows), limits, by_element) <= most
        ]
        return tuple(dict.fromkeys([default, *near]))

    def passes(self, tile: Tile) -> int:
        """Tiles that cover the area."""
        lines, rows = tile
        return -(-self.lines // lines) * -(-self.rows // rows)

    def divides(self, tile: Tile) -> bool:
        """Whether tiles cover the area without a rest."""
        return self.lines % tile[0] == 0 and self.rows % tile[1] == 0

    def _cost(self, tile: Tile, limits: Limits, by_element: bool) -> float:
        lines, rows = tile
        return tile_cost(lines * rows, self._vectors(limits), limits, by_element) * self.passes(tile) * lines * rows

    def _most_rows(self, limits: Limits, cap: int | None, by_element: bool) -> int:
        """Beside the sums there are a vector of weights each, and with `by_element` one of factors for each row."""
        vectors = self._vectors(limits)
        room = (limits.registers - vectors) // (vectors + 1) if by_element else (limits.registers - 4) // vectors
        most = max(1, room)
        return min(most, cap or most)

    def _vectors(self, limits: Limits) -> int:
        return max(1, self.width // limits.lanes)


def rows_of_tile(rows: int, width: int, limits: Limits, cap: int | None = None, by_element: bool = False) -> int:
    """MR: how many rows a tile of `width` columns best has, at most `cap`."""
    return Area(1, rows, width).tile(limits, cap, by_element)[1]


def spaces_of(tiles: Iterable[Tile]) -> dict[str, tuple[int, ...]]:
    """The values of the parameters of tiles."""
    lines, rows = zip(*tiles, strict=True)
    return {"lines": tuple(sorted(set(lines))), "rows": tuple(sorted(set(rows)))}
