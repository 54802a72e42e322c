"""What is claimed, measured: `make bench NAME=optimizer`. Each figure stands beside a baseline of the same run."""
