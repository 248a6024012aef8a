"""From prepared records to batches: sources, the resident feed, the streaming feed, augmentation."""
