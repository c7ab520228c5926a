// Tracking: to come.
