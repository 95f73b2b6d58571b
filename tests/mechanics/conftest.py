"""The obvious forms that the mechanics are held against stand with the benchmarks, at the repository's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
