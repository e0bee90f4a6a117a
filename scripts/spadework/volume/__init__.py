"""Serial sections as a volume: registration, Vox2Vox, and what its predictions are worth."""
