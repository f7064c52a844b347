"""The cost model: what a training step takes on node counts that were not measured, with its error.

A step of a layer is its passes and what they exchange. Of each the model has a time for every node count:

* A pass takes max(roofline / efficiency, launch): see :mod:`layerbench.predict.efficiency`. The efficiency at a shard's
  size is taken from the nearest evidence there is: the layer and pass at other local batches, others of its type and
  pass on the same machine, published devices.
* An exchange takes what α and β of the network, or a sweep of the collective, say: see
  :mod:`layerbench.collective_times`. Where a run has measured exchanges, its times are fitted to them: see
  :mod:`layerbench.predict.exchanges`.
* With an overlap η of 0 to 1, step = compute + max(0, communication - η · hideable). What is hideable depends on the
  layout: see :mod:`layerbench.predict.overlap`.

Intervals are of 90 %, from replicas of the whole computation: samples are drawn anew from those that were measured,
errors of the fits from the fits' residuals, figures of the machine from their intervals.
"""
