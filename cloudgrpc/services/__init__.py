"""One module per gRPC service: message -> action -> message."""
