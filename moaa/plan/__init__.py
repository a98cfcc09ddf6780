"""Resource and finished stages to stages that are ready now: pure functions, no I/O, no clock."""
