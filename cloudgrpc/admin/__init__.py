"""The operators' role: what everybody paid, and the acts that need a person. It reaches the gateway as any client."""
