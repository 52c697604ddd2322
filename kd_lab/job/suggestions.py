"""What a user may have meant by a key that is not there: the last word of it counts most."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from kd_lab.job.catalogue import NETWORKS
from kd_lab.outside.text import listed

MOST = 4
"""So many are named."""
NOT_HERE = "what else is chosen here does not have it, see the same command with --cfg job and without this"
NOWHERE = "see `kd-lab --cfg job` for every key, `kd-lab list` for every choice"


def suggestion(
    key: str, keys: Sequence[str], groups: Sequence[str], choices_with: Callable[[], Mapping[str, Sequence[str]]]
) -> str:
    """The end of the sentence that says that there is no such key.

    Args:
        key: what was typed.
        keys: those of the config.
        groups: what is chosen by name: `dataset`, `student/recipe`.
        choices_with: the settings of all choices, and which have them.
    """
    known = list(dict.fromkeys(_short(one, groups) for one in [*keys, *groups]))
    if key in keys:
        having = choices_with().get(key)
        return f"{key} is a setting of {_listed(having)}" if having else NOT_HERE
    same_but_case = [one for one in known if one.lower() == key.lower()]
    if same_but_case:
        return f"did you mean {same_but_case[0]}?"
    same = [one for one in known if _last(one) == _last(key)]
    own = [one for one in same if _first(one) == _first(key)]
    if not own and (having := choices_with().get(key)):
        return f"{key} is a setting of {_listed(having)}"
    if same:
        return _one_of(key, own or same, known)
    of_choices = [one for one in choices_with() if _last(one) == _last(key)]
    if of_choices:
        return " or ".join(f"{one} of {_listed(choices_with()[one])}" for one in of_choices[:MOST])
    return _alike(key, known)


def _one_of(key: str, found: Sequence[str], known: Sequence[str]) -> str:
    """`did you mean student.recipe.batch_size or teacher.recipe.batch_size?`, of one network only where it is named."""
    found = [one for one in found if _first(one) != "baseline"] or found  # as the student's, unless told
    found = sorted(found, key=lambda one: (*NETWORKS, _first(one)).index(_first(one)))[:MOST]
    meant = f"did you mean {listed(found, 'or')}?"
    root, others = _first(key), {_first(one) for one in found}
    if "." in key and root not in others and root in map(_first, known):
        return f"only {listed(sorted(others), 'or')} has {_last(key)}; {meant}"
    return meant


def _alike(key: str, known: Sequence[str]) -> str:
    """By spelling: of the whole key, else of its last word."""
    near = get_close_matches(key, known, n=1)
    if not near:
        word = get_close_matches(_last(key), [_last(one) for one in known], n=1, cutoff=0.75)
        near = [one for one in known if word and _last(one) == word[0]]
        return _one_of(key, near, known) if near else NOWHERE
    return f"did you mean {near[0]}?"


def _short(key: str, groups: Sequence[str]) -> str:
    """As it is typed: `loss.temperature` of the only loss, `student/recipe/optimizer` of what is chosen by name."""
    short = re.sub(r"^loss\.terms\.\w+\.(?=\w+$)", "loss.", key)
    return short.replace(".", "/") if short.replace(".", "/") in groups else short


def _last(key: str) -> str:
    return re.split(r"[./]", key)[-1].lower()


def _first(key: str) -> str:
    return re.split(r"[./]", key)[0].lower()


def _listed(names: Sequence[str]) -> str:
    return listed(names, "or") if len(names) <= MOST else f"{', '.join(names[:MOST])} and others"
