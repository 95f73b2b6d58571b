"""Settings of the whole suite; nothing of `jaxdlb` may be imported before the hook below is in place."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The suite compiles hundreds of programs and runs each for a moment: without optimisation it compiles in half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
sys.path.insert(0, str(Path(__file__).parent))  # for `reference` and `typechecking`, from whatever folder pytest runs

import hypothesis
import jaxtyping

# Shapes and dtypes that the annotations promise are checked in every function that a test reaches.
jaxtyping.install_import_hook(["jaxdlb"], "typechecking.check_functions")

# No deadline: the first example of a test compiles. Derandomized: the suite's verdict depends on the code alone;
# `--hypothesis-profile=explore` looks for new examples.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000, database=None)
hypothesis.settings.load_profile("suite")
