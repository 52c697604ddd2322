"""Writes docs/reliability.md from what was found."""

from pathlib import Path
from typing import Any

TITLES = {
    "kills": "SIGKILL at a random moment",
    "signals": "SIGINT, SIGTERM, SIGHUP, Ctrl-C four times",
    "disks": "disks and files that are too small",
    "servers": "a real MLflow server that misbehaves",
    "files": "hostile files of the user's",
    "kept": "what kd-lab keeps, spoilt",
}
WHOLE = "whole "
"""How the attacks are called that are none: the file as it should be."""


def write_page(results: dict[str, Any], there_are: dict[str, int], page: Path) -> None:
    """The page, from its beginning to its end. there_are: the number of attacks of each kind, made or not."""
    made = results["made"]
    rows = ["| attack | there are | made | struck | nothing lost | something amiss |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    amiss = []
    for kind, title in TITLES.items():
        found = {name: one for name, one in results.get(kind, {}).items() if not name.startswith(WHOLE)}
        struck = sum(one.get("was", "struck") == "struck" for one in found.values())
        bad = {name: one for name, one in found.items() if one["problems"]}
        rows.append(f"| {title} | {there_are[kind]} | {len(found)} | {struck} | {len(found) - len(bad)} | {len(bad)} |")
        wrong = {name: one["problems"] for name, one in results.get(kind, {}).items() if one["problems"]}
        amiss += [f"- {kind}, {name}: {'; '.join(problems)[:300]}" for name, problems in sorted(wrong.items())]
    went_on = sum(int(one.get("went on", 0)) for kind in ("kills", "signals") for one in results.get(kind, {}).values())
    whole = sum(name.startswith(WHOLE) and not one["problems"] for name, one in results.get("files", {}).items())
    page.write_text(
        PAGE.format(table="\n".join(rows), went_on=went_on, whole=whole, amiss="\n".join(amiss) or "Nothing.", **made)
    )


PAGE = """# Is anything lost?

This page is written by

```sh
python -m experiments.reliability.attack --workers 2
```

which attacks real commands, each in a folder of its own, gives the same command again, and looks at all that is left
([how, and what counts as lost](../experiments/reliability/README.md); each by name:
[results.json](../experiments/reliability/results.json)). {date}, commit {commit} (the last; that of each
attack is beside it there), {cpu}, {cores} cores, Python {python}, torch {torch}, mlflow {mlflow}.

{table}

Struck: the command was still going on when its moment came. {went_on} trainings went on in the middle when the
command was given again. {whole} files, of a kind each, were also given as they should be, and taken.

## What was amiss

{amiss}

## What this does not show

A power cut (a killed process's writes are in the kernel and reach the disk), several machines, network file systems,
GPUs, and attackers on the same machine; of the last, [security.md](security.md). SLURM's time limit was met by hand
([how](../experiments/reliability/README.md#slurm)).
"""
