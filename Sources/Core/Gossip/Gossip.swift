// Gossip: to come.
