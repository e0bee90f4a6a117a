"""Encoders: from image patches to feature vectors."""
