"""What tests of patches use."""
