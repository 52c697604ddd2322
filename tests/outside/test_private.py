"""What kd-lab uses of others that no release promises is there, and named in one place."""

import ast
import re
from pathlib import Path

import kd_lab
from kd_lab.outside.private import NAMES, gone

PRIVATE = re.compile(r"hydra\.core\b|mlflow\.(utils|store)\b|(?!kd_lab).*[.:]_")


def test_gone__nothing() -> None:
    assert gone() == []


def test_names__every_private_import_of_the_package() -> None:
    imported = set()
    for file in Path(kd_lab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}:{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    found = set(filter(PRIVATE.match, imported))
    assert len(found) > 10
    assert found <= {re.sub(r"(:\w+).*", r"\1", name) for name in NAMES}
