"""Stand-ins that keep the protocol, for tests that need no process."""
