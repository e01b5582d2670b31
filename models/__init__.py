"""The science: images, the large vision model, the heads. Knows no HTTP, no Label Studio."""
