"""The key service's client: tokens, the wire, the derivation and the key caches."""
