"""Everything durable: objects in a directory or S3, and on top of them manifests, ledgers, shards and fencing."""
