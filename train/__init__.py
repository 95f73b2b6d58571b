"""The launchers: `python -m train`, `python -m train.evaluate` and `python -m train.render`."""
