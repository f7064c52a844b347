"""Schedulers, each a file of pure functions: directives, command lines, and the reading of what they answer."""
