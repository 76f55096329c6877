"""What `cascade-clip doctor` looks at: this machine, the packages, weights, data, and the servers that the environment names."""
