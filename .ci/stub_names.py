"""Has _native.pyi exactly the names of the compiled module? No type checker can tell."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from spawnkit._native import lib

STUB = Path(__file__).parent.parent / "src/spawnkit/_native.pyi"


def declared(name: str) -> set[str]:
    """The names in the body of one class of the stub."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    (found,) = (c for c in tree.body if isinstance(c, ast.ClassDef) and c.name == name)
    names = set()
    for item in found.body:
        if isinstance(item, ast.FunctionDef):
            names.add(item.name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
    return names


compiled, stub = set(dir(lib)), declared("_Lib")
for missing in sorted(compiled - stub):
    print(f"{STUB.name}: {missing} is missing", file=sys.stderr)
for extra in sorted(stub - compiled):
    print(f"{STUB.name}: {extra} is not in the compiled module", file=sys.stderr)
sys.exit(compiled != stub)
