"""What things cost, as ratios to the cryptography they cannot do without."""
