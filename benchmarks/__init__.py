"""What the library costs, measured against a stated floor in one run."""
