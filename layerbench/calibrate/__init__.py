"""Measures the machine it runs on: what a rank computes and moves, and what ranks take to exchange.

``layerbench calibrate`` writes what it finds as a machine profile, which the cost model predicts from. One rank by
itself measures its ceilings, the launch of a kernel, and some layers of every kind; ranks together, messages and
collectives of many sizes, to which α and β are fitted.

Importing this package is cheap: what is heavy is loaded by the modules that need it.
"""
