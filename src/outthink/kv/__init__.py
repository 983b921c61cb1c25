"""The key-value cache: tensors by slot, and what decides about them."""
