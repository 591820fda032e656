"""Online learning: training events in order, and the learner that publishes versions."""
