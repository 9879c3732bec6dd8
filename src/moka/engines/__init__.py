"""What executes a program: one narrow seam, several small engines."""
