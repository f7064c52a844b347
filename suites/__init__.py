"""What is computed: layer shapes as TOML files. The format is read by :mod:`layerbench.suite`."""
