"""What is encrypted already, under other keys or in the clear: `worker rekey` and `worker export`."""
