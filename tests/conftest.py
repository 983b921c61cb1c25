"""What several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("outthink", deadline=None)  # a machine may be busy
settings.load_profile("outthink")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Public data sets, if this machine has them: $OUTTHINK_DATA, or ../shared/data beside the checkout."""
    place = Path(os.environ.get("OUTTHINK_DATA") or ROOT.parent / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"no data sets at {place}: set OUTTHINK_DATA to a folder with gsm8k/ and math500/")
    return place
