"""vLLM servers on this machine."""
