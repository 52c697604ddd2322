"""The measures once more, naively: float64, one sample at a time, in probability space. Imports nothing of kd_lab."""

import math

import numpy as np


def softmax(row):
    powers = [math.exp(z - max(row)) for z in row]
    return [p / sum(powers) for p in powers]


def order(row):
    """Classes from the most to the least likely; the lower number first where they tie."""
    return sorted(range(len(row)), key=lambda k: (-row[k], k))


def top(logits, targets, k):
    return sum(y in order(row)[:k] for row, y in zip(logits, targets, strict=True)) / len(targets)


def nll(logits, targets):
    return sum(-math.log(softmax(row)[y]) for row, y in zip(logits, targets, strict=True)) / len(targets)


def brier(logits, targets):
    total = 0.0
    for row, y in zip(logits, targets, strict=True):
        total += sum((p - (k == y)) ** 2 for k, p in enumerate(softmax(row)))
    return total / len(targets)


def bins(logits, targets, num_bins=15):
    """Lists of (confidence, right) per bin (a, b]; 0 in the first."""
    found = [[] for _ in range(num_bins)]
    for row, y in zip(logits, targets, strict=True):
        confidence = max(softmax(row))
        for i in range(num_bins):
            if (i == 0 or confidence > i / num_bins) and confidence <= (i + 1) / num_bins:
                found[i].append((confidence, order(row)[0] == y))
                break
        else:
            found[-1].append((confidence, order(row)[0] == y))
    return found


def ece(logits, targets):
    total = 0.0
    for members in bins(logits, targets):
        if members:
            confidence = sum(c for c, _ in members) / len(members)
            accuracy = sum(r for _, r in members) / len(members)
            total += len(members) / len(targets) * abs(accuracy - confidence)
    return total


def confusion(logits, targets, num_classes):
    counts = np.zeros((num_classes, num_classes), dtype=int)
    for row, y in zip(logits, targets, strict=True):
        counts[y, order(row)[0]] += 1
    return counts


def agreement(student, teacher):
    return sum(order(s)[0] == order(t)[0] for s, t in zip(student, teacher, strict=True)) / len(student)


def agreement_where_teacher_wrong(student, teacher, targets):
    same = [order(s)[0] == order(t)[0] for s, t, y in zip(student, teacher, targets, strict=True) if order(t)[0] != y]
    return sum(same) / len(same) if same else None


def kl(teacher, student):
    total = 0.0
    for t, s in zip(teacher, student, strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(t), softmax(s), strict=True))
    return total / len(teacher)


def by_class(logits, targets, num_classes):
    """Mean recall, mean F1 and mean area under the ROC over the classes that there are; the last by counting pairs."""
    recalls, f1s, areas = [], [], []
    for k in sorted(set(targets)):
        own = [i for i, y in enumerate(targets) if y == k]
        others = [i for i, y in enumerate(targets) if y != k]
        hits = sum(order(logits[i])[0] == k for i in own)
        wrong = sum(order(logits[i])[0] == k for i in others)
        recalls.append(hits / len(own))
        f1s.append(2 * hits / (2 * hits + wrong + len(own) - hits))
        p = [softmax(row)[k] for row in logits]
        if others:
            won = sum((p[i] > p[j]) + 0.5 * (p[i] == p[j]) for i in own for j in others)
            areas.append(won / len(own) / len(others))
    return [sum(found) / len(found) if found else None for found in (recalls, f1s, areas)]
