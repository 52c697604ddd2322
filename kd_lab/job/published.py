"""What conf/published brings with an experiment and a loss: the weights that papers used for this very pair.

`experiment=cifar100/PAIR loss=dkd` takes conf/published/cifar100/PAIR/dkd.yaml, else conf/published/cifar100/dkd.yaml,
else nothing: then the defaults of conf/loss are those of the benchmark too. `loss.standardize=true` takes
`dkd_standardized`. What acts is named, as what is tuned is (`kd_lab.job.tuned`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kd_lab import names
from kd_lab.job.quoting import quoted

if TYPE_CHECKING:
    from kd_lab.job.settings import Settings

PUBLISHED = "published"
STANDARDIZED = "_standardized"
LENGTHS = (".epochs", ".steps")
"""Of these one is given; the other is null, and goes without saying."""
BESIDE = "beside"
"""The folder of what a loss has beside others, in whatever experiment."""
OF_TERM = re.compile(r"loss\.terms\.(\w+)\.(.+)")
NO_PART = re.compile(
    r"(dataset\.(path|download|seed)|(teacher|student|baseline)\.(weights|reuse|seed|layers|cache\w*)"
    r"|\w+\.recipe\.(channels_last|compile)|loss\.(terms\.\w+\.)?standardize)$|teacher\.recipe\."
)
"""What may be otherwise in a run of an experiment, which stays the same: where data lie, seeds, how fast it goes; and
how a teacher was come by, whose weights are known by what they are. Standardized logits are a method of their own."""


def for_all_pairs(path: str) -> str | None:
    """`published/cifar100/ft` of `published/cifar100/PAIR/ft`."""
    found = re.fullmatch(rf"({PUBLISHED}/[^/]+)/[^/]+/([^/]+)", path)
    return f"{found[1]}/{found[2]}" if found else None


def chosen(overrides: Sequence[str], keys: Mapping[str, str]) -> str | None:
    """What `published` is to be, where the default, experiment and loss, does not say it; None where it does.

    Args:
        overrides: as they were typed.
        keys: their values, by key.
    """
    if PUBLISHED in keys:
        return None
    losses = re.findall(r"\w+", keys["loss"]) if keys.get("loss", "").startswith("[") else []
    if losses:
        experiment = keys.get("experiment")
        return f"{PUBLISHED}={_of_several(losses, experiment) if experiment else 'none'}"
    if any(re.fullmatch(r"\+*loss\.(terms\.\w+\.)?standardize=[Tt]rue", override) for override in overrides):
        return f"{PUBLISHED}=${{experiment}}/${{loss}}{STANDARDIZED}"
    return None


def _of_several(losses: Sequence[str], experiment: str) -> str:
    return f"[{','.join(f'{experiment}/{loss},{BESIDE}/{loss}' for loss in losses)}]"


def changed(config: Mapping[str, Any], plain: Mapping[str, Any]) -> list[str]:
    """What of an experiment is otherwise in a job, as it is typed: `student.recipe.epochs=2`.

    Args:
        config: the job's, resolved.
        plain: that of the experiment with the same loss, and nothing else said.
    """
    found = []
    for part in ("dataset", "teacher", "student", "loss"):
        own, as_it_is = (dict(_leaves(one[part], part)) for one in (config, plain))
        keys = [key for key in {**own, **as_it_is} if own.get(key) != as_it_is.get(key) and not NO_PART.match(key)]
        keys = [key for key in keys if not (own.get(key) is None and key.endswith(LENGTHS))]
        found += [quoted(f"{key}={_typed(own.get(key))}") for key in keys if not _is_said_again(key, own, as_it_is)]
    return found


def _is_said_again(key: str, own: Mapping[str, object], as_it_is: Mapping[str, object]) -> bool:
    """Whether `loss.temperature=4`, short for that of the only loss, says what that is anyway."""
    last = key.removeprefix("loss.")
    of_terms = [
        value for name, value in as_it_is.items() if re.fullmatch(rf"loss\.terms\.\w+\.{re.escape(last)}", name)
    ]
    return "." not in last and of_terms == [own.get(key)]


def _typed(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value).replace(" ", "")


def _leaves(node: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}")
    else:
        yield key, node


def short(settings: Mapping[str, Any]) -> str:
    """`dkd beta=6`, `crd student.recipe.batch_size=256`: each loss once, then what belongs to no loss."""
    told: dict[str, list[str]] = {}
    for key, value in settings.items():
        term = OF_TERM.fullmatch(key)
        number = f"{value:g}" if isinstance(value, float) else _typed(value)
        told.setdefault(term[1] if term else "", []).append(f"{term[2] if term else key}={number}")
    return ", ".join(f"{name} {' '.join(values)}".strip() for name, values in told.items())


def described(settings: "Settings") -> list[str]:
    """What acts as published for this pair and how it is left out, and what of the experiment is otherwise here."""
    experiment, said = settings.experiment, []
    if settings.published and experiment is not None:
        brought = short(settings.published)
        said.append(f"published for {experiment.name}: {brought} (published=none leaves it out)")
    if experiment is not None and experiment.changed:
        said.append(f"not as published for {experiment.name}: {' '.join(experiment.changed)}")
    return said


def tags(settings: "Settings") -> dict[str, str]:
    """What the run of a student keeps of its experiment."""
    experiment, terms = settings.experiment, settings.loss.terms
    if experiment is None:
        return {}
    standardized = " standardized" if any(term.standardize for term in terms.values()) else ""
    return {
        names.TAG_EXPERIMENT: experiment.name,
        names.TAG_EXPERIMENT_LOSS: ("+".join(terms) or "none") + standardized,
        names.TAG_EXPERIMENT_CHANGED: " ".join(experiment.changed),
        names.TAG_PUBLISHED: short(settings.published),
    }
