"""The world "rules": SmolLM2-135M-Instruct taught by a mixture of its own specialised kin to keep rules."""
