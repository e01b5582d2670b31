"""The service: a Label Studio ML backend around the large vision model and its heads."""
