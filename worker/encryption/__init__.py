"""Values to envelopes and back."""
