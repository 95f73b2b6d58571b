"""Sweeps: many runs from one command line, in this process or, by one of hydra's launchers, in others.

`parent` checks them all, has them run and tells what came of them; `job` is what each of them does, wherever it runs.
The two talk through small files in the sweep's folder (`outcomes`), since nothing else outlives a process.
"""
