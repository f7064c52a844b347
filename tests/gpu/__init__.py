"""``make gpu-check``: all that is to be seen of a GPU in a few minutes, told in one table."""
