"""Other libraries' faces: each in a file of its own, imported by name alone."""
