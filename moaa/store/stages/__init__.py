"""What stages leave: shards, tables, folders, manifests."""
