"""Files on a node: digests, the object store, and the cache of checkpoints that are pulled from it."""
