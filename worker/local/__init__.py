"""Real Kafka and PostgreSQL on loopback, for the demo and the tests."""
