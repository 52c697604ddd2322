"""Small files as the UCR/UEA archive has them."""

from pathlib import Path

Row = tuple[str, str]
"""The values of a sample, channels apart by colons, and its label."""

TRAINING: list[Row] = [("1,2,3", "b"), ("4,6,5", "a"), ("0,0,1", "b"), ("9,7,5", "a")]
TESTING: list[Row] = [("3,1,2", "a"), ("2,2,8", "b")]


def ts(rows: list[Row], header: str = "", classes: str = "a b") -> str:
    """A .ts file."""
    start = (
        f"#From nobody\n@problemName Made\n@timeStamps false\n@univariate true\n{header}@classLabel true {classes}\n"
    )
    return start + "@data\n" + "".join(f"{values}:{label}\n" for values, label in rows)


def columns(rows: list[Row], separator: str) -> str:
    """A .tsv or .txt file."""
    return "".join(separator.join([label, *values.split(",")]) + "\n" for values, label in rows)


def write(folder: Path, train: str, test: str, name: str = "Made", ending: str = ".ts") -> Path:
    """Two files, in a folder that is made; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_TRAIN{ending}").write_text(train, encoding="utf-8")
    (folder / f"{name}_TEST{ending}").write_text(test, encoding="utf-8")
    return folder
