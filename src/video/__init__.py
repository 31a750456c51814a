"""From videos to a gallery: frames, detections, tracks, and the best crops of each track."""
