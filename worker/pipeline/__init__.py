"""The one loop: poll, encrypt, write, commit."""
