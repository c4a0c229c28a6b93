"""What constructs: connections, schemas, the key stack and routes, from settings and the environment."""
