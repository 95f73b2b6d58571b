"""What several games share: pure functions on arrays, each modelling one piece of the physics of load balancing."""
