"""What the training's driver and its workers both know."""
