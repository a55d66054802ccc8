"""What trained models say of slides."""
