"""The training curve as it grows: TensorBoard's event file in the store, and services that show runs."""
