"""The endpoints of physiotherapists, one module a topic."""
