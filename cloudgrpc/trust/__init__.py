"""Who we are and whom we believe: secrets and certificates on this machine's disk."""
