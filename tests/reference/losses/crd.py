"""CRD, naively: one sample, one network and one negative after the other, in probabilities.

Source: Tian et al. 2020 (arXiv:1910.10699), equation 18, in the count of HobbitLong/RepDistiller (crd/criterion.py and
crd/memory.py): the embeds, Z of the first batch, the 1e-7 in the denominators, and the memories. What a loss draws and
remembers is an argument here: the negatives of each sample, the constants Z, and in `state` the two memories.

Legend: B batch, K negatives, N rows of the dataset, D dimensions.
"""

from typing import Any

import numpy as np

from tests.reference.arrays import Array, Integers, Outputs
from tests.reference.layers import flatten, linear

EPS = 1e-7


def reference(
    student: Outputs,
    teacher: Outputs,
    targets: Integers,
    index: Integers,
    state: dict[str, Array],
    *,
    drawn: list[list[int]],
    rows: int,
    constants: tuple[float, float],
    temperature: float,
) -> Any:
    """`drawn`: for each sample the rows of its negatives; `rows`: among how many they are; `constants`: both Z."""
    total: Any = 0.0
    for vectors, memory, z in zip(embedded(student, teacher, state), memories(state), constants, strict=True):
        for b, own in enumerate(index):
            noise = len(drawn[b]) / rows  # K P_n, with P_n the same for each row
            p = weight(vectors[b], memory[own], temperature) / z
            total = total - np.log(p / (p + noise + EPS))
            for other in drawn[b]:
                p = weight(vectors[b], memory[other], temperature) / z
                total = total - np.log(noise / (p + noise + EPS))
    return total / len(index)


def first_constants(
    student: Outputs,
    teacher: Outputs,
    index: Integers,
    state: dict[str, Array],
    *,
    drawn: list[list[int]],
    rows: int,
    temperature: float,
) -> tuple[float, float]:
    """Z of the student's and of the teacher's side: `rows` times the mean weight over the own row and the negatives."""
    found = []
    for vectors, memory in zip(embedded(student, teacher, state), memories(state), strict=True):
        weights = [
            weight(vectors[b], memory[row], temperature) for b, own in enumerate(index) for row in [int(own), *drawn[b]]
        ]
        found.append(rows * float(np.mean(weights)))
    return found[0], found[1]


def remembered(
    student: Outputs, teacher: Outputs, index: Integers, state: dict[str, Array], *, momentum: float
) -> tuple[Array, Array]:
    """The student's and the teacher's memory after the step; of a sample that is there twice, the last one counts."""
    found = []
    for vectors, name in zip(embedded(student, teacher, state), ("memories.student", "memories.teacher"), strict=True):
        after = state[name].copy()
        for b, own in enumerate(index):
            after[own] = unit_vector(momentum * state[name][own] + (1 - momentum) * vectors[b])
        found.append(after)
    return found[0], found[1]


def embedded(student: Outputs, teacher: Outputs, state: dict[str, Array]) -> list[list[Array]]:
    """For each network the vector of each sample: a linear layer, and length 1."""
    found = []
    for outputs, name in ((student, "student_embed"), (teacher, "teacher_embed")):
        projected = linear(flatten(outputs.features[0]), state[f"{name}.weight"], state[f"{name}.bias"])
        found.append([unit_vector(row) for row in projected])
    return found


def memories(state: dict[str, Array]) -> tuple[Array, Array]:
    """[N, D] of the other network: the student's vectors are held against the teacher's memory and the reverse."""
    return state["memories.teacher"], state["memories.student"]


def weight(vector: Array, row: Array, temperature: float) -> Any:
    return np.exp(np.sum(vector * row) / temperature)


def unit_vector(x: Array) -> Array:
    return x / np.sqrt(np.sum(x * x))
