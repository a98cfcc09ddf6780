"""What runs in a Ray Train worker."""
