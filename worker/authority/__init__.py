"""The self-hosted ZeroKMS and CTS of one region."""
