"""DeepBench's published times as data, read by :mod:`layerbench.reference`."""
