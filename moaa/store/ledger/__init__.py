"""Every model call that was made."""
