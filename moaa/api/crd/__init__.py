"""The resource's classes and rules as a CustomResourceDefinition."""
