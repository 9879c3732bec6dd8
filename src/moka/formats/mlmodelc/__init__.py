"""Compiled models (``.mlmodelc`` folders) as plain objects, and back to the specification they were made of."""
