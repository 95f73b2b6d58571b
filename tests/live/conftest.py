"""What tests of running systems need."""

import os

# Processes of workers are forked from one that has the engine loaded, so that one that was killed is back at once.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
