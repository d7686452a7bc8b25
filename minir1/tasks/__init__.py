"""The reasoning tasks. Each problem class has question(), verify(answer), split() and to_json()."""
