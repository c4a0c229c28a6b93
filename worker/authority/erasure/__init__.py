"""Erasing one subject's keys: secrets that a keyset's messages depend on, and that can be taken out one by one."""
