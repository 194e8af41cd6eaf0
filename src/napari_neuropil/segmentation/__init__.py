"""From affinities to segments: numpy in, numpy out; no torch, no disk."""
