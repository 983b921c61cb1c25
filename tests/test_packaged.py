"""What the package reads at run time is in the wheel, not only in the repository."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "outthink"
BUILT = {".py", ".pyc", ".c", ".h", ".so", ".pyd"}  # setuptools takes or makes these by itself


def test_every_file_beside_the_code_is_package_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["outthink"]
    files = [p.relative_to(PACKAGE) for p in PACKAGE.rglob("*") if p.is_file() and p.suffix not in BUILT]
    left = [str(f) for f in files if not any(fnmatch(str(f), pattern) for pattern in patterns)]
    assert len(files) > 5 and not left, f"not in the wheel: {left}"
