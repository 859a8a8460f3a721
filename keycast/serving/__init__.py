"""How connections from outside are taken: bounds, the servers' protocols, and the guard before Django."""
