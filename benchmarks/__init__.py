"""Throughput of games and learners, measured with the library's own dependencies alone."""
