"""Examples that change while training: InfoBatch, RS2, adaptive selection."""
