"""What operators deploy, and what generates it."""
