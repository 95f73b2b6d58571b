"""What several games share: pure functions on arrays, each one piece of the physics of balancing load."""
