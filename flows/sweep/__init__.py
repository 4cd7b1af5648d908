"""Ray Tune: a trial is a variant. The only package that imports ray.tune.

A trial's process waits and asks others to work: it holds no device, and its variant takes slots step by
step. The records say what is done, so nothing of Tune's own state is ever read again.
"""
