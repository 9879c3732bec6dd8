"""Source models to compiled ones and back, and the cache of compiled models."""
