"""The operator: `kubectl apply` a MoAA and it happens. Holds no storage credentials and reads no Secret."""
