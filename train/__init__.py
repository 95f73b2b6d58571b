"""The launchers: `python -m train`, `train.evaluate`, `train.simulate`, `train.render` and `train.robustness`."""
