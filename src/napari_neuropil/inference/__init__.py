"""Network x volume: tiled prediction, blending weights, device and tile choice."""
