"""What takes long or installs much, and is no part of `make test`: `make test-all` runs it."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "train")]  # for `train`, and for what its tests share
