"""How layers are computed: one file for each vendor library. The contract is :mod:`layerbench.kernel`."""
