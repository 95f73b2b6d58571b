"""What takes long or installs much, and is no part of `make test`: `make test-all` runs it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "train")]  # for `train`, and for what its tests share
