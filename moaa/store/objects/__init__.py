"""Bytes under keys, in a directory or in S3."""
