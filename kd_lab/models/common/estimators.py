"""Fitted estimators of scikit-learn's kind as bytes and back, by skops: no pickle, and nothing in them runs code.

Trees of scikit-learn hold numbers of nodes that their predict follows without looking: whoever can write to a store
could make it read foreign memory, or never end. They are looked at here before anything is asked of them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kd_lab.errors import UserError
from kd_lab.outside.nodes import TRUST, is_trusted

TREES = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
"""What skops calls untrusted for the reason above, and what is looked at instead."""
HARMLESS = (
    "collections.OrderedDict",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)
"""What skops calls untrusted, and is a dictionary, which LightGBM's classifiers hold, or what scikit-learn calls its
own: a classifier in a wrapper, and two numbers."""


def dumped(estimator: Any) -> bytes:
    """A fitted estimator."""
    from skops.io import dumps

    written: bytes = dumps(estimator)
    return written


def loaded(content: bytes) -> Any:
    """The estimator.

    Raises:
        UserError: it holds a class that cannot be judged, or a tree that is none.
    """
    from skops.io import get_untrusted_types, loads

    named = get_untrusted_types(data=content)
    unknown = [name for name in named if name not in (*TREES, *HARMLESS) and not is_trusted(name)]
    if unknown:
        top = unknown[0].split(".")[0]
        raise UserError(
            f"teacher.estimator: the stored one holds {', '.join(unknown[:3])}, which is not known to be safe; if you "
            f"know who wrote that run, add trust={top} (or {TRUST}={top} in the environment)"
        )
    found = loads(content, trusted=named)
    for one in _parts(found, set()):
        _check_tree(one)
    return found


def _parts(of: Any, seen: set[int]) -> Iterator[Any]:
    """All that it is made of, once each."""
    if id(of) in seen:
        return
    seen.add(id(of))
    yield of
    inside: Iterable[Any] = ()
    if isinstance(of, np.ndarray):
        inside = of.ravel().tolist() if of.dtype == object else ()
    elif isinstance(of, list | tuple | set):
        inside = of
    elif isinstance(of, dict):
        inside = of.values()
    elif hasattr(of, "__dict__"):
        inside = vars(of).values()
    for one in inside:
        yield from _parts(one, seen)


def _check_tree(one: Any) -> None:
    """Children come after their parents and are there, as are the features that are asked."""
    name = f"{type(one).__module__}.{type(one).__qualname__}"
    if name == TREES[0]:
        left, right, feature = one.children_left, one.children_right, one.feature
        inner, features = left != -1, one.n_features
    elif name == TREES[1]:
        left, right, feature = (one.nodes[key].astype(np.int64) for key in ("left", "right", "feature_idx"))
        inner, features = one.nodes["is_leaf"] == 0, np.iinfo(np.int64).max
        bitsets = min(len(one.raw_left_cat_bitsets), len(one.binned_left_cat_bitsets))
        if (inner & (one.nodes["is_categorical"] != 0) & (one.nodes["bitset_idx"] >= bitsets)).any():
            raise _damaged()
    else:
        return
    own = np.arange(len(left))[inner]
    if not len(left) or not all(((own < side[inner]) & (side[inner] < len(left))).all() for side in (left, right)):
        raise _damaged()
    if ((feature[inner] < 0) | (feature[inner] >= features)).any():
        raise _damaged()


def _damaged() -> UserError:
    return UserError("teacher.estimator: the stored one is no tree; expected what kd-lab kept, choose another run")
