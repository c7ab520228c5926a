// Allocation: to come.
