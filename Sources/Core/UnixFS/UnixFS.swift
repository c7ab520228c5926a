// UnixFS: to come.
