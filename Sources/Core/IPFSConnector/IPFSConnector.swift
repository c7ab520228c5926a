// IPFSConnector: to come.
