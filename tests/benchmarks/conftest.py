"""The benchmarks belong to the repository, not to the installed library: they are imported from its root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
