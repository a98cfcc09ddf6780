"""`moaa view`: what a store holds as read-only web pages, also while a run goes on."""
