"""What `benchmarks/accuracy.py` is made of: cases, references, rules, curves, tables."""
