"""From a resource and its finished stages to the stages that are ready now. Pure: no I/O, no clock."""
