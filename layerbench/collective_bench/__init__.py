"""How long ranks take to exchange vectors of many sizes, by each library: the command ``collectives``."""
