"""The demonstration: two regions on real components, and every claim looked at; it begins in `worker.demo.story`."""
