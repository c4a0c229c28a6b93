"""What is left when a store is lost: backups, a journal of every write since, and how both become a store again."""
