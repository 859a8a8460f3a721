"""The project package: wiring, and libraries with no business in them."""
