// Monitoring: to come.
