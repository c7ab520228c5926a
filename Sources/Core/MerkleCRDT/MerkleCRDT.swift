// MerkleCRDT: to come.
