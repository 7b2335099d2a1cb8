"""The configuration: one model of it, and the ways in which it is given."""
