"""SPUNGE: rows that look like those of a table, made of them without a search for neighbours, for a teacher to label.

Source: the simplification of MUNGE (Bucila et al. 2006) that AutoGluon distils tables with (function `spunge_augment`;
Fakoor et al. 2020, arXiv:2006.14284, compare with it). Of a row one to `share` of the columns, drawn anew for each, get
the value of another row drawn at random ("hot deck"); then each number moves, with probability `share`, by a normal
draw of `noise` times its column's standard deviation. Where we differ: whether a column's value is taken from a row is
drawn for all rows at once. A missing value is taken like any other, and does not move.
Legend: N rows, C columns, M rows made.
"""

from dataclasses import dataclass

import numpy as np

from kd_lab.datasets.common.munge import Flags, Rows


@dataclass(frozen=True)
class Spunge:
    """How: the share of columns that another row may give, and of numbers that move, and by how much they do.

    Raises:
        ValueError: no share, or a noise below 0.
    """

    share: float
    noise: float

    def __post_init__(self) -> None:
        """Look at the settings."""
        if not 0 < self.share <= 1:
            raise ValueError(f"Expected `spunge_share` to be above 0 and at most 1, but got {self.share}.")
        if not self.noise >= 0:
            raise ValueError(f"Expected `spunge_noise` to be >= 0, but got {self.noise}.")

    def __call__(self, rows: Rows, categories: Flags, count: int, seed: int) -> Rows:
        """As many new rows [M, C], made of all rows in turn.

        Args:
            rows: [N, C]: numbers, codes of categories, NaN where there is no value.
            categories: [C], which columns hold codes.
            count: M.
            seed: what is drawn follows from it.
        """
        random = np.random.default_rng(seed)
        total, columns = rows.shape
        most = max(1, int(self.share * columns))
        taken = random.integers(1, most, size=(count, 1), endpoint=True)
        chosen = random.random((count, columns)).argsort(axis=1).argsort(axis=1) < taken
        donors = random.integers(total, size=(count, columns))
        made = np.where(chosen, rows[donors, np.arange(columns)], rows[np.arange(count) % total])
        moves = (random.random((count, columns)) < self.share) & ~categories
        draws = random.standard_normal((count, columns)) * self.noise * _deviations(rows)
        return np.where(moves, made + draws, made)


def _deviations(rows: Rows) -> Rows:
    """Of each column [C], of the values that are there; 0 where there is none."""
    known = ~np.isnan(rows)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, rows, 0).sum(axis=0) / counts
    squares = np.where(known, (rows - means) ** 2, 0).sum(axis=0) / counts
    found: Rows = np.sqrt(squares)
    return found
