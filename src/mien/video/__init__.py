"""Video and camera: frames with their own times, faces followed through them, tracks, smoothing, resuming. No torch."""
