"""The launchers: `python -m train`, `python -m train.evaluate` … in a checkout, `jaxdlb train` … once installed."""
