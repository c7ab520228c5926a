// Exchange: to come.
