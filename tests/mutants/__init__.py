"""Takes one check of the product out at a time, and shows that the test named for it notices (``make mutants``)."""
