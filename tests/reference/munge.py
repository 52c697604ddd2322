"""MUNGE as its figure 2 is written: one attribute of one pair at a time."""

import numpy as np


def nearest(rows: np.ndarray, categories: np.ndarray) -> list[int]:
    """Of each row the nearest other one, by brute force; no value may be missing."""
    found = []
    for i in range(len(rows)):
        distances = {}
        for j in range(len(rows)):
            squared = 0.0
            for a in range(rows.shape[1]):
                if categories[a]:
                    squared += float(rows[i, a] != rows[j, a])
                else:
                    squared += ((rows[i, a] - rows[j, a]) / (max(rows[:, a]) - min(rows[:, a]))) ** 2
            if j != i:
                distances[j] = squared
        found.append(min(distances, key=lambda j: distances[j]))
    return found


def munge_pass(rows: np.ndarray, categories: np.ndarray, p: float, s: float, random: np.random.Generator) -> np.ndarray:
    """All rows once; draws come as `Munge` takes them, a row's at a time."""
    made = rows.copy()
    for e, other in enumerate(nearest(rows, categories)):
        uniform, normal = random.random(rows.shape[1]), random.standard_normal((2, rows.shape[1]))
        for a in range(rows.shape[1]):
            if uniform[a] >= p:
                continue
            one, two = made[e, a], made[other, a]
            if categories[a]:
                made[e, a], made[other, a] = two, one
            else:
                deviation = abs(one - two) / s
                made[e, a], made[other, a] = two + deviation * normal[0, a], one + deviation * normal[1, a]
    return made
