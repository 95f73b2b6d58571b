"""What takes long or installs much, and is no part of `make test`: `make test-all` runs it."""
