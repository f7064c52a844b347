"""Benchmarks of layerbench itself; run by ``make bench``, never as tests."""
